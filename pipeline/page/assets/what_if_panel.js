// Other limits, tried on what was recorded: which alarms there would have been more, and which fewer.

import { computed, ref } from "vue";
import { timeOfDay } from "myoguard_parts";
import { dayOf } from "review_parts";

export default {
  props: { message: String, state: String },
  emits: ["try", "stop"],
  template: `
    <main class="review what-if" aria-labelledby="what-if-title">
      <h1 id="what-if-title">What if</h1>
      <p class="who">Try other limits on what was recorded. Nothing is changed by it.</p>
      <p class="empty" v-if="!sources.length">There is nothing recorded yet. Captures come with the first medium alarm;
        whole sessions are kept with <code>capture.sessions = true</code>.</p>
      <div class="what-if-body" v-else>
        <form class="card" @submit.prevent="start">
          <fieldset><legend>Limits to try</legend>
            <ul class="limit-rows"><li v-for="(row, at) in rows" :key="row.key">
              <label>Site <select :aria-label="'Site ' + (at + 1)" v-model="row.site" @change="fill(row)"><option v-for="site in sites" :key="site.site" :value="site.site">{{ site.title }}</option></select></label>
              <label>Limit <select :aria-label="'Limit ' + (at + 1)" v-model="row.limit" @change="fill(row)"><option v-for="limit in limits" :key="limit.key" :value="limit.key">{{ limit.title }}</option></select></label>
              <label>Now {{ now(row) }} <input type="number" min="0.1" step="any" required v-model.number="row.value" :aria-label="'Value ' + (at + 1) + ' to try, now ' + now(row)"></label>
              <button type="button" v-if="rows.length > 1" @click="rows.splice(at, 1)" :aria-label="'Leave out limit ' + (at + 1)">Leave out</button>
            </li></ul>
            <p class="buttons" style="margin-top: 12px"><button type="button" @click="add" :disabled="rows.length > 11">Another limit</button></p>
          </fieldset>
          <fieldset class="choice"><legend>Judge again</legend>
            <label class="option" v-for="one in sources" :key="one.key"><input type="radio" name="source" :value="one.key" v-model="source">
              <span><b>{{ one.title }}</b><span class="plain"> {{ one.said }}</span></span></label>
          </fieldset>
          <p class="buttons"><button type="submit" class="primary" :disabled="told.is === 'running'">Try</button>
            <button type="button" v-if="told.is === 'running'" @click="$emit('stop')">Stop</button></p>
        </form>
        <section class="card" aria-labelledby="outcome-title" aria-live="polite">
          <h2 id="outcome-title">What becomes of it</h2>
          <p class="plain" v-if="told.is === 'ready'">Alarms gained and lost will stand here, rule by rule.</p>
          <template v-if="told.is === 'running'">
            <progress :max="told.all" :value="told.done" aria-label="Recordings judged"></progress>
            <p class="plain">{{ told.done }} of {{ told.all }} recordings judged</p></template>
          <p class="failed" role="alert" v-if="told.is === 'failed'">{{ told.said }}</p>
          <template v-if="told.is === 'done'">
            <p class="plain" v-if="!told.rules.length">No alarm either way.</p>
            <table class="verdict-table" v-else><thead><tr><th scope="col">Rule</th><th scope="col">Now</th><th scope="col">Tried</th><th scope="col">Gained</th><th scope="col">Lost</th></tr></thead>
              <tbody><tr v-for="row in told.rules" :key="row.rule"><th scope="row">{{ row.title }}</th><td>{{ row.now }}</td><td>{{ row.tried }}</td>
                <td :class="{ gained: row.gained }">{{ row.gained ? '+' + row.gained : '0' }}</td><td :class="{ lost: row.lost }">{{ row.lost ? '−' + row.lost : '0' }}</td></tr></tbody></table>
            <p class="plain" style="margin-top: 10px">{{ told.logs }} {{ told.logs === 1 ? 'recording' : 'recordings' }}, {{ told.contact }} of contact<span v-if="told.unreadable">; {{ told.unreadable }} could not be read</span>.</p>
            <div class="changed" v-for="list in lists" :key="list.title"><h2>{{ list.title }}</h2>
              <ol><li v-for="(each, at) in list.items" :key="at"><b>{{ each.title }}</b><span>{{ each.where }}</span><span>{{ each.evidence }}</span></li></ol></div>
          </template>
        </section>
      </div>
    </main>`,
  setup(props, { emit }) {
    const { sites, limits, sources } = JSON.parse(props.message);
    let count = 0;
    const siteOf = (row) => sites.find((site) => site.site === row.site);
    const now = (row) => siteOf(row)[row.limit];
    const fill = (row) => { row.value = now(row); };
    const fresh = () => {
      const row = { key: (count += 1), site: "calf", limit: "force_limit_n", value: 0 };
      if (!siteOf(row)) row.site = sites[0].site;
      fill(row);
      return row;
    };
    const rows = ref([fresh()]);
    const source = ref(sources[0]?.key);
    const told = computed(() => JSON.parse(props.state));
    const place = (each) => ({
      ...each,
      where: [`${dayOf(each.at_ms)}, ${timeOfDay(each.at_ms, true)}`, each.device, each.site].filter(Boolean).join(" · "),
    });
    const lists = computed(() => [
      { title: "Gained", items: told.value.gained.map(place) },
      { title: "Lost", items: told.value.lost.map(place) },
    ].filter(({ items }) => items.length));
    function start() {
      const changes = rows.value.map(({ site, limit, value }) => ({ site, limit, value }));
      emit("try", { source: source.value, changes });
    }
    return { sites, limits, sources, rows, source, told, lists, now, fill, start, add: () => rows.value.push(fresh()) };
  },
};
