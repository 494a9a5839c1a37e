// The fleet page: the whole fleet in one element, drawn anew from one message a tick.
// A tile whose gun did not change keeps its object, so that Vue leaves it alone.

import { computed, ref } from "vue";
import { AlarmItem, GunChip, GunTile, clinic, ofClinic, useMessage } from "myoguard_parts";

// Guns in use: the fewer, the larger their tiles.
const SIZES = [[1, "one"], [2, "few"], [4, "some"], [12, "usual"], [Infinity, "many"]];
const FIRST_ALARMS = 3; // shown on a phone before one asks for more

// The same object as last time for each gun that is the same as last time.
function useUnchanged(guns) {
  let known = new Map();
  return computed(() => {
    const now = new Map();
    for (const gun of guns.value) {
      const key = `${gun.clinic}/${gun.device}`;
      const text = JSON.stringify(gun);
      const before = known.get(key);
      now.set(key, before?.text === text ? before : { key, text, gun });
    }
    known = now;
    return [...now.values()];
  });
}

export default {
  components: { AlarmItem, GunChip, GunTile },
  props: { message: String },
  template: `
    <div class="fleet" :class="{ stale: silentS }">
      <h1 class="spoken">Fleet</h1>
      <ul class="counts" aria-label="Counts">
        <li v-for="count in counts" :key="count.of"><b>{{ count.number }}</b>
          {{ count.words }}</li>
      </ul>
      <div class="body">
        <section class="alarms" aria-labelledby="alarms-title">
          <h2 id="alarms-title">Alarms</h2>
          <p class="well" v-if="!alarms.length && !message.error"><svg viewBox="0 0 24 24" aria-hidden="true">
            <path d="m4 12.5 5.5 5.5L20 6.5"/></svg>No alarm stands.</p>
          <ol :class="{ all: showAll }"><li v-for="alarm in alarms" :key="alarm.key">
            <AlarmItem :alarm="alarm"/></li></ol>
          <button v-if="alarms.length > few" class="more" type="button" :aria-expanded="showAll"
            @click="showAll = !showAll">{{ showAll ? "Show fewer" : "Show all " + alarms.length }}</button>
          <p class="who" v-if="unlisted">and {{ unlisted }} more, of lower urgency</p>
        </section>
        <main>
          <p class="empty" v-if="!entries.length && clinic">No gun of {{ clinic }} has been seen yet.</p>
          <p class="empty" v-else-if="!entries.length && !message.error">No gun has been seen yet. Start one
            with <code>myoguard simulate</code>, or connect one to the broker.</p>
          <section v-if="busy.length" aria-label="Guns in use">
            <ol class="tiles" :class="size"><li v-for="entry in busy" :key="entry.key">
              <GunTile :gun="entry.gun" :show-clinic="showClinic"/></li></ol>
          </section>
          <section v-if="quiet.length" aria-labelledby="quiet-title">
            <h2 id="quiet-title">Not in use</h2>
            <ol class="chips"><li v-for="entry in quiet" :key="entry.key">
              <GunChip :gun="entry.gun" :show-clinic="showClinic"/></li></ol>
          </section>
        </main>
      </div>
    </div>`,
  setup(props) {
    const { message, silentS } = useMessage(props);
    const showAll = ref(false);
    const guns = computed(() => message.value.guns.filter(ofClinic));
    const alarms = computed(() => message.value.alarms.filter(ofClinic));
    const entries = useUnchanged(guns);
    const busy = computed(() => entries.value.filter((entry) => entry.gun.in_use));
    const size = computed(() => SIZES.find(([most]) => busy.value.length <= most)[1]);
    const total = (count) => guns.value.reduce((sum, gun) => sum + count(gun), 0);
    const counts = computed(() => {
      const having = (test) => guns.value.filter(test).length;
      const urgent = total((gun) => gun.alarms_urgent);
      const offline = having((gun) => ["offline", "silent", "unheard"].includes(gun.state));
      return [
        { of: "guns", number: guns.value.length, words: guns.value.length === 1 ? "gun" : "guns" },
        { of: "contact", number: having((gun) => gun.state === "contact"), words: "in contact" },
        { of: "offline", number: offline, words: "not heard" },
        { of: "alarm", number: urgent, words: urgent === 1 ? "alarm now" : "alarms now" },
      ];
    });
    return {
      message, silentS, clinic, showAll, alarms, entries, busy, size, counts,
      few: FIRST_ALARMS,
      unlisted: computed(() => total((gun) => gun.alarms_standing) - alarms.value.length),
      quiet: computed(() => entries.value.filter((entry) => !entry.gun.in_use)),
      showClinic: computed(() => !clinic.value && new Set(message.value.guns.map((gun) => gun.clinic)).size > 1),
    };
  },
};
