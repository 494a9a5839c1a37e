// The fleet page: the whole fleet in one element, drawn anew from one message a tick.
// A tile whose gun did not change keeps its object, so that Vue leaves it alone.

import { computed, ref, watch } from "vue";
import { AlarmItem, GunChip, GunTile, Notices, PRIORITY_WORDS, timeOfDay, useMessage } from "myoguard_parts";

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

// Speaks each alarm once, when it becomes active; low ones are left to the eye.
function useAnnouncements(alarms) {
  const spoken = ref("");
  const active = () => alarms.value.filter((alarm) => alarm.active && alarm.priority !== "low");
  let known = new Set(active().map((alarm) => alarm.key));
  watch(alarms, () => {
    const fresh = active().filter((alarm) => !known.has(alarm.key));
    known = new Set(active().map((alarm) => alarm.key));
    if (!fresh.length) return;
    spoken.value = fresh
      .map((alarm) => `${PRIORITY_WORDS[alarm.priority]} alarm, ${alarm.device}: ${alarm.title}`)
      .join(". ");
  });
  return spoken;
}

export default {
  components: { AlarmItem, GunChip, GunTile, Notices },
  props: { message: String, clinic: String },
  template: `
    <div class="fleet" :class="{ stale: silentS }">
      <header class="top">
        <h1><svg viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="15"/>
          <path d="M4 17h6l3-8 5 15 4-10 2 3h4"/></svg>MyoGuard</h1>
        <ul class="counts" aria-label="Counts">
          <li v-for="count in counts" :key="count.of"><b>{{ count.number }}</b>
            {{ count.words }}</li>
        </ul>
        <label class="clinic" v-if="clinics.length > 1">Clinic
          <select v-model="chosen"><option value="">All clinics</option>
            <option v-for="name in clinics" :key="name" :value="name">{{ name }}</option></select>
        </label>
        <time>{{ time }}</time>
      </header>
      <p class="plain">Not a medical device. Massage is no substitute for training or medical care, and
        the evidence for it is modest.</p>
      <Notices :error="message.error" :silent-s="silentS"/>
      <p class="spoken" aria-live="assertive">{{ spoken }}</p>
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
          <p class="empty" v-if="!entries.length && chosen">No gun of {{ chosen }} has been seen yet.</p>
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
    const chosen = ref(props.clinic);
    const showAll = ref(false);
    watch(chosen, (clinic) => {
      const query = clinic ? `?clinic=${encodeURIComponent(clinic)}` : location.pathname;
      history.replaceState(history.state, "", query);
    });
    const ofClinic = (thing) => !chosen.value || thing.clinic === chosen.value;
    const guns = computed(() => message.value.guns.filter(ofClinic));
    const alarms = computed(() => message.value.alarms.filter(ofClinic));
    const entries = useUnchanged(guns);
    const clinics = computed(() => {
      const named = new Set(message.value.guns.map((gun) => gun.clinic));
      if (chosen.value) named.add(chosen.value);
      return [...named].sort();
    });
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
      message, silentS, chosen, showAll, alarms, entries, clinics, busy, size, counts,
      few: FIRST_ALARMS,
      unlisted: computed(() => total((gun) => gun.alarms_standing) - alarms.value.length),
      quiet: computed(() => entries.value.filter((entry) => !entry.gun.in_use)),
      showClinic: computed(() => clinics.value.length > 1 && !chosen.value),
      time: computed(() => timeOfDay(message.value.now_ms)),
      spoken: useAnnouncements(alarms),
    };
  },
};
