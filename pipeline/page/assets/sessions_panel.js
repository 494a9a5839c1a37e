// Sessions to choose from. The form asks by the address, so that a search can be kept and shared.

import { computed, reactive, ref } from "vue";
import { timeOfDay } from "myoguard_parts";
import { dayOf, length, sessionAddress, sessionKey, span } from "review_parts";

// An open session is summed up once a minute: until then it has no figures, which is not nought.
function figuresOf(line) {
  if (!line.contact_s) return { sites: line.ended_ms ? "no contact" : "not summed up yet" };
  return {
    sites: line.sites.join(", "),
    contact: length(line.contact_s),
    force: `${Math.round(line.force_n_mean)} N, up to ${Math.round(line.force_n_max)}`,
    dwell: `${Math.round(line.dwell_s_max)} s`,
  };
}

export default {
  props: { message: String },
  template: `
    <main class="review sessions" aria-labelledby="sessions-title">
      <h1 id="sessions-title">Sessions</h1>
      <form class="search card" method="get" action="/sessions" role="search" aria-label="Find sessions">
        <input v-if="list.wanted.clinic" type="hidden" name="clinic" :value="list.wanted.clinic">
        <label>Client <input name="client" v-model="asked.client" list="clients" autocomplete="off" placeholder="anybody">
          <datalist id="clients"><option v-for="name in list.clients" :key="name" :value="name"></option></datalist></label>
        <label>Operator <select name="operator" v-model="asked.operator"><option value="">Anybody</option>
          <option v-for="name in list.operators" :key="name" :value="name">{{ name }}</option></select></label>
        <label>Gun <select name="gun" v-model="asked.gun"><option value="">Any</option>
          <option v-for="name in list.guns" :key="name" :value="name">{{ name }}</option></select></label>
        <label>Day <input name="day" type="date" v-model="asked.day"></label>
        <button type="submit" class="primary">Find</button>
        <a v-if="restricted" class="quiet" href="/sessions">Show all</a>
      </form>
      <p class="notice" role="alert" v-if="list.error">The store cannot be read: {{ list.error }}.</p>
      <p class="empty" v-else-if="!list.lines.length">{{ restricted ? "No session is like that." : "No session has been seen yet." }}</p>
      <template v-else>
        <p class="plain found" role="status">{{ found }} Tick two to compare them.</p>
        <section v-for="day in days" :key="day.title" :aria-label="day.title">
          <h2>{{ day.title }}</h2>
          <ul class="session-rows">
            <li v-for="line in day.lines" :key="line.key" class="card" :class="{ chosen: chosen.includes(line.key) }">
              <label class="tick"><input type="checkbox" :value="line.key" v-model="chosen"
                :disabled="chosen.length > 1 && !chosen.includes(line.key)"
                :aria-label="'Compare the session of ' + (line.client ?? 'a client not named') + ' at ' + line.at"></label>
              <a :href="line.address" class="session-link"><b class="client">{{ line.client ?? "Client not named" }}</b>
                <span class="when">{{ line.span }}</span></a>
              <p class="by">{{ line.by }}</p>
              <p class="sites">{{ line.sites }}</p>
              <dl v-if="line.contact"><div><dt>In contact</dt><dd>{{ line.contact }}</dd></div>
                <div><dt>Force</dt><dd>{{ line.force }}</dd></div>
                <div><dt>One spot</dt><dd>{{ line.dwell }}</dd></div>
                <div :class="{ some: line.alarms }"><dt>Alarms</dt><dd>{{ line.alarms || (line.ended_ms ? "none" : "–") }}</dd></div></dl>
            </li>
          </ul>
        </section>
        <div class="compare-bar" v-if="chosen.length" role="status">
          <span>{{ chosen.length === 1 ? "One session is ticked: tick another." : "Two sessions are ticked." }}</span>
          <a v-if="chosen.length === 2" class="button primary" :href="compareAddress">Compare</a>
          <button type="button" @click="chosen = []">Untick</button>
        </div>
      </template>
    </main>`,
  setup(props) {
    const list = JSON.parse(props.message);
    const chosen = ref([]);
    const { clinic: _, ...wanted } = list.wanted;
    const asked = reactive({ ...wanted }); // kept when the page draws itself anew
    const restricted = Object.values(wanted).some(Boolean);
    const lines = list.lines.map((line) => ({
      ...line,
      key: sessionKey(line),
      address: sessionAddress(line),
      at: timeOfDay(line.started_ms),
      span: span(line),
      by: [line.operator ?? "operator not named", line.device, line.clinic].join(" · "),
      ...figuresOf(line),
    }));
    const days = [];
    for (const line of lines) {
      const title = dayOf(line.started_ms);
      if (days.at(-1)?.title !== title) days.push({ title, lines: [] });
      days.at(-1).lines.push(line);
    }
    const count = `${lines.length} session${lines.length === 1 ? "" : "s"}`;
    const found = list.more ? `The latest ${count}; narrow it down to see older ones.` : `${count}.`;
    const compareAddress = computed(() => `/compare?a=${encodeURIComponent(chosen.value[0])}&b=${encodeURIComponent(chosen.value[1])}`);
    return { list, asked, days, chosen, restricted, found, compareAddress };
  },
};
