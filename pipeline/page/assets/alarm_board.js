// The alarms: those that stand, with what can be done about each, and those that did.

import { computed, reactive, ref, watch } from "vue";
import { AlarmItem, PRIORITY_WORDS, PriorityIcon, clinic, get, gunAddress, ofClinic, timeOfDay, useMessage } from "myoguard_parts";

const SPANS = [[1, "last hour"], [12, "last 12 hours"], [24, "last day"], [168, "last week"], [720, "last 30 days"], [0, "ever"]];
const day = (ms) => new Date(ms).toLocaleDateString([], { day: "numeric", month: "short" });

const PastAlarms = {
  components: { PriorityIcon },
  template: `
    <section class="past" aria-labelledby="past-title">
      <h2 id="past-title">What happened</h2>
      <form class="filters" @submit.prevent="load(false)">
        <label>When <select v-model.number="asked.hours"><option v-for="[hours, name] in spans" :key="hours"
          :value="hours">{{ name }}</option></select></label>
        <label>Priority <select v-model="asked.priority"><option value="">any</option>
          <option v-for="(name, value) in priorities" :key="value" :value="value">{{ name }}</option></select></label>
        <label>Gun <input v-model.trim="asked.device" maxlength="64" autocapitalize="none"></label>
        <label>Operator <input v-model.trim="asked.operator" maxlength="256" autocapitalize="none"></label>
        <button type="submit">Show</button>
      </form>
      <p class="failed" role="alert" v-if="error">{{ error }}</p>
      <p class="empty" v-else-if="loaded && !rows.length">Nothing of that kind happened.</p>
      <div class="table" v-else-if="rows.length" role="region" aria-label="What happened" tabindex="0"><table>
        <thead><tr><th>Time</th><th>Gun</th><th>Alarm</th><th>What</th><th>Evidence</th><th>Who</th></tr></thead>
        <tbody><tr v-for="row in rows" :key="row.position">
          <td><time>{{ day(row.at_ms) }} {{ clock(row.at_ms) }}</time></td>
          <td><a :href="address(row)">{{ row.device }}</a><small v-if="!clinic">{{ row.clinic }}</small></td>
          <td><span class="titled"><PriorityIcon :priority="row.priority" :active="true"/>{{ row.title }}</span></td>
          <td>{{ row.event }}<template v-if="row.until_ms"> until {{ clock(row.until_ms) }}</template></td>
          <td>{{ [row.evidence, row.site, ...row.notes].filter(Boolean).join(" · ") || "–" }}</td>
          <td>{{ row.by ? "by " + row.by : row.operator ?? "–" }}<small v-if="row.note">{{ row.note }}</small></td>
        </tr></tbody></table></div>
      <button type="button" class="further" v-if="more" @click="load(true)">Show older</button>
    </section>`,
  setup() {
    const asked = reactive({ hours: 24, priority: "", device: "", operator: "" });
    const rows = ref([]);
    const more = ref(false);
    const loaded = ref(false);
    const error = ref("");
    async function load(older) {
      const query = new URLSearchParams(asked.hours ? { hours: asked.hours } : {});
      for (const key of ["priority", "device", "operator"]) if (asked[key]) query.set(key, asked[key]);
      if (clinic.value) query.set("clinic", clinic.value);
      if (older) query.set("before", rows.value.at(-1).position);
      try {
        const found = await get(`/api/alarms/past?${query}`);
        rows.value = older ? [...rows.value, ...found.rows] : found.rows;
        more.value = found.more;
        error.value = "";
      } catch (failure) {
        error.value = failure.message;
      }
      loaded.value = true;
    }
    watch([() => asked.hours, () => asked.priority, clinic], () => load(false), { immediate: true });
    return {
      asked, rows, more, loaded, error, load, clinic, day, spans: SPANS, priorities: PRIORITY_WORDS,
      address: gunAddress,
      clock: (ms) => timeOfDay(ms, true),
    };
  },
};

export default {
  components: { AlarmItem, PastAlarms },
  props: { message: String },
  template: `
    <main class="all-alarms" :class="{ stale: silentS }">
      <h1 class="spoken">Alarms</h1>
      <div class="body">
      <p class="well big" v-if="!alarms.length && !message.error"><svg viewBox="0 0 24 24" aria-hidden="true">
        <path d="m4 12.5 5.5 5.5L20 6.5"/></svg>No alarm stands.</p>
      <section class="alarms" :class="{ now: group.title === 'Now' }" v-for="group in groups" :key="group.title"
        :aria-label="group.title">
        <h2>{{ group.title }} <b>{{ group.alarms.length }}</b></h2>
        <ol class="all"><li v-for="alarm in group.alarms" :key="alarm.key"><AlarmItem :alarm="alarm" full/></li></ol>
      </section>
      <p class="who" v-if="unlisted > 0">and {{ unlisted }} more, of lower urgency</p>
      </div>
      <PastAlarms/>
    </main>`,
  setup(props) {
    const { message, silentS } = useMessage(props);
    const alarms = computed(() => message.value.alarms.filter(ofClinic));
    const groups = computed(() => {
      const hidden = (alarm) => alarm.actions.includes("unshelve") || !alarm.actions.length;
      const of = (test) => alarms.value.filter(test);
      return [
        { title: "Now", alarms: of((a) => a.active && a.urgent) },
        { title: "Over, waiting for somebody", alarms: of((a) => !a.active && a.waits) },
        { title: "Can wait", alarms: of((a) => a.active && !a.urgent) },
        { title: "Shelved or set aside", alarms: of((a) => !a.active && !a.waits && hidden(a)) },
      ].filter((group) => group.alarms.length);
    });
    return {
      message, silentS, alarms, groups, timeOfDay,
      unlisted: computed(() => message.value.standing - message.value.alarms.length),
    };
  },
};
