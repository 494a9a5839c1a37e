// A gun's page: its tile now, its alarms with what to do, and the charts in the default slot.

import { computed } from "vue";
import { AlarmItem, GunTile, useMessage } from "myoguard_parts";

export default {
  components: { AlarmItem, GunTile },
  props: { message: String },
  template: `
    <div class="gun" :class="{ stale: silentS }">
      <div class="top">
        <a class="back" href="/">All guns</a>
        <h1>{{ message.gun.device }}</h1>
        <p class="who">{{ identity }}</p>
      </div>
      <div class="body">
        <aside>
          <GunTile :gun="message.gun" alone/>
          <section class="alarms" aria-labelledby="alarms-title">
            <h2 id="alarms-title">Alarms</h2>
            <p class="well" v-if="!message.alarms.length && !message.error"><svg viewBox="0 0 24 24" aria-hidden="true">
              <path d="m4 12.5 5.5 5.5L20 6.5"/></svg>No alarm stands.</p>
            <ol class="all"><li v-for="alarm in message.alarms" :key="alarm.key">
              <AlarmItem :alarm="alarm" of-gun/></li></ol>
          </section>
          <section class="alarms" aria-labelledby="past-title" v-if="message.past.length">
            <h2 id="past-title">Cleared in the last minutes</h2>
            <ol class="all"><li v-for="alarm in message.past" :key="alarm.key">
              <AlarmItem :alarm="alarm" of-gun/></li></ol>
          </section>
        </aside>
        <main aria-label="The last five minutes">
          <p class="empty" v-if="!message.has_values">Nothing has been measured with this gun yet.</p>
          <div class="charts" v-show="message.has_values"><slot></slot></div>
        </main>
      </div>
    </div>`,
  setup(props) {
    const { message, silentS } = useMessage(props);
    const identity = computed(() => {
      const { gun, identity: own } = message.value;
      const head = own.head ? `${own.head} head` : null;
      const serial = own.serial ? `serial ${own.serial}` : null;
      const firmware = own.firmware ? `firmware ${own.firmware}` : null;
      const calibration = gun.calibrated ? "calibrated" : "not calibrated: force is a rough figure";
      return [gun.clinic, own.model, serial, firmware, head, calibration].filter(Boolean).join(" · ");
    });
    return { message, silentS, identity };
  },
};
