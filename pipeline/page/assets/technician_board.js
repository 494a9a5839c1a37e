// The technician's view: what wants configuring, the bench, how things stand, a test alarm, the settings.

import { computed, onBeforeUnmount, ref } from "vue";
import { clinic, get, gunAddress, ofClinic, post } from "myoguard_parts";

const REFRESH_MS = 2000;
const STATE_WORDS = {
  contact: "in contact", air: "in the air", resting: "motor off", silent: "silent", unheard: "no values yet", offline: "offline",
};

const Guns = {
  props: { guns: Array },
  template: `
    <section aria-labelledby="guns-title" class="card">
      <h2 id="guns-title">Guns</h2>
      <p class="who" v-if="!guns.length">No gun has been seen yet.</p>
      <p class="well" v-else-if="!wanting"><svg viewBox="0 0 24 24" aria-hidden="true">
        <path d="m4 12.5 5.5 5.5L20 6.5"/></svg>Every gun is known and calibrated.</p>
      <p v-else>{{ wanting }} of {{ guns.length }} {{ wanting === 1 ? "wants" : "want" }} something.</p>
      <div class="table guns" v-if="guns.length" role="region" aria-label="Guns" tabindex="0"><table>
        <thead><tr><th>Gun</th><th>What it wants</th><th>Now</th><th>Model</th><th>Serial, firmware, head</th></tr></thead>
        <tbody><tr v-for="gun in guns" :key="gun.clinic + '/' + gun.device" :data-gun="gun.clinic + '/' + gun.device">
          <td><a :href="address(gun)">{{ gun.device }}</a><small>{{ gun.clinic }}</small></td>
          <td><ul v-if="gun.wants.length"><li v-for="want in gun.wants" :key="want">{{ want }}</li></ul>
            <template v-else>nothing, it is calibrated</template></td>
          <td>{{ states[gun.state] }}</td>
          <td>{{ gun.model ?? "–" }}</td>
          <td>{{ [gun.serial, gun.firmware, gun.head].filter(Boolean).join(", ") || "–" }}</td>
        </tr></tbody></table></div>
    </section>`,
  setup(props) {
    const wanting = computed(() => props.guns.filter((gun) => gun.wants.length).length);
    return { wanting, address: gunAddress, states: STATE_WORDS };
  },
};

const Bench = {
  template: `
    <section aria-labelledby="bench-title" class="card">
      <h2 id="bench-title">Calibrate a gun</h2>
      <p class="who">The recording is what <code>myoguard record</code> wrote at the bench; the load cell's log has
        the columns <code>t_ns,force_n</code>. How to push is in docs/calibration.md.</p>
      <form class="bench" @submit.prevent="fit">
        <label>Recording (.parquet) <input ref="recording" type="file" accept=".parquet" required :disabled="busy"></label>
        <label>Load cell's log (.csv) <input ref="loadcell" type="file" accept=".csv" required :disabled="busy"></label>
        <button type="submit" class="primary" :disabled="busy">Fit</button>
      </form>
      <p role="status" v-if="busy"><span class="dots" aria-hidden="true"></span> Fitting, half a minute or so. The guns are watched all the while.</p>
      <p class="failed" role="alert" v-if="error">{{ error }}</p>
      <p class="done" role="status" v-if="done">{{ done }}</p>
      <div class="proposal" v-if="proposal">
        <img :src="'data:image/png;base64,' + proposal.picture" :alt="'Load cell against fitted force of ' + proposal.device">
        <div><h3>{{ proposal.device }}<small> of {{ proposal.clinic }}</small></h3>
          <dl>
            <dt>Error at {{ proposal.loads }} loads up to {{ proposal.load_n_max }} N</dt>
            <dd><b>{{ proposal.error_percent_median }} %</b> in the median, <b>{{ proposal.error_percent_p95 }} %</b> in 95 of 100</dd>
            <dt>Uncertainty that alarms and charts will carry</dt><dd>{{ proposal.force_sd_percent }} %</dd>
            <dt>Speeds</dt><dd>{{ proposal.speeds_hz.map((speed) => speed.toFixed(1)).join(", ") }} Hz</dd>
          </dl>
          <p class="buttons"><button type="button" class="primary" @click="accept" :disabled="busy">Accept</button>
            <button type="button" @click="proposal = null" :disabled="busy">Discard</button></p>
          <p class="who">Accepting writes it to where calibrations lie and takes it up at once; nothing is restarted.</p>
        </div>
      </div>
    </section>`,
  setup() {
    const recording = ref(null);
    const loadcell = ref(null);
    const busy = ref(false);
    const error = ref("");
    const done = ref("");
    const proposal = ref(null);
    async function work(task) {
      busy.value = true;
      error.value = done.value = "";
      try {
        await task();
      } catch (failure) {
        error.value = failure.message;
      }
      busy.value = false;
    }
    const fit = () => work(async () => {
      const files = new FormData();
      files.append("recording", recording.value.files[0]);
      files.append("loadcell", loadcell.value.files[0]);
      proposal.value = await post("/api/technician/bench", files);
    });
    const accept = () => work(async () => {
      done.value = (await post("/api/technician/bench/accept", { key: proposal.value.key })).said;
      proposal.value = null;
    });
    return { recording, loadcell, busy, error, done, proposal, fit, accept };
  },
};

const Test = {
  props: { clinics: Array },
  template: `
    <section aria-labelledby="test-title" class="card">
      <h2 id="test-title">Test alarm</h2>
      <p class="who">Raises <i>Gun offline</i>, medium, for a gun called myoguard-test, the way a real one would; whoever
        is notified of alarms hears of it. It ends and acknowledges itself.</p>
      <form class="bench" @submit.prevent="run">
        <label>Clinic <input v-model.trim="where" list="clinics" pattern="[A-Za-z0-9_\\-]{1,64}" maxlength="64" required></label>
        <datalist id="clinics"><option v-for="name in clinics" :key="name" :value="name"></option></datalist>
        <button type="submit" class="primary" :disabled="busy">Send a test alarm</button>
      </form>
      <p role="status" v-if="busy"><span class="dots" aria-hidden="true"></span> On its way.</p>
      <p class="failed" role="alert" v-if="error">{{ error }}</p>
      <ol class="steps" role="status" v-if="steps.length"><li v-for="step in steps" :key="step.name" :class="{ bad: step.problem }">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path :d="step.problem ? cross : tick"/></svg>
        <span>{{ step.name }}</span><b>{{ step.problem || "after " + step.after_ms + " ms" }}</b></li></ol>
    </section>`,
  setup(props) {
    const where = ref(clinic.value || props.clinics[0] || "clinic");
    const busy = ref(false);
    const error = ref("");
    const steps = ref([]);
    async function run() {
      busy.value = true;
      error.value = "";
      steps.value = [];
      try {
        steps.value = (await post("/api/technician/test-alarm", { clinic: where.value })).steps;
      } catch (failure) {
        error.value = failure.message;
      }
      busy.value = false;
    }
    return { where, busy, error, steps, run, tick: "m4 12.5 5.5 5.5L20 6.5", cross: "M5 5l14 14M19 5 5 19" };
  },
};

const Health = {
  props: { facts: Array },
  template: `
    <section aria-labelledby="health-title" class="card">
      <h2 id="health-title">Health</h2>
      <div class="facts"><div v-for="[subject, rows] in subjects" :key="subject"><h3>{{ subject }}</h3>
        <dl><template v-for="fact in rows" :key="fact.name"><dt>{{ fact.name }}</dt>
          <dd :class="{ bad: fact.remark }">{{ fact.value }}<small v-if="fact.remark">{{ fact.remark }}</small></dd></template></dl>
      </div></div>
    </section>`,
  setup(props) {
    const subjects = computed(() => {
      const grouped = new Map();
      for (const fact of props.facts) grouped.set(fact.subject, [...(grouped.get(fact.subject) ?? []), fact]);
      return [...grouped];
    });
    return { subjects };
  },
};

const Configuration = {
  props: { rows: Array },
  template: `
    <section aria-labelledby="settings-title" class="card">
      <h2 id="settings-title">Configuration</h2>
      <p class="who">As this pipeline was started. To change it, edit the file or the variable and start it again;
        <code>myoguard check-config</code> says beforehand what is wrong.</p>
      <label class="only"><input type="checkbox" v-model="changedOnly"> Only what is not a default</label>
      <p class="who" v-if="!shown.length">Everything is as it comes.</p>
      <div class="table" v-else role="region" aria-label="Configuration" tabindex="0"><table>
        <thead><tr><th>Setting</th><th>Value</th><th>From</th><th class="meaning">Meaning</th></tr></thead>
        <tbody><tr v-for="row in shown" :key="row.key" :class="{ changed: row.source !== 'default' }">
          <td><code>{{ row.key }}</code></td><td><code>{{ row.value || "–" }}</code></td><td>{{ row.source }}</td>
          <td class="meaning">{{ row.meaning.replaceAll("\`", "") }}</td>
        </tr></tbody></table></div>
    </section>`,
  setup(props) {
    const changedOnly = ref(false);
    const shown = computed(() => props.rows.filter((row) => !changedOnly.value || row.source !== "default"));
    return { changedOnly, shown };
  },
};

export default {
  components: { Bench, Configuration, Guns, Health, Test },
  template: `
    <main class="technician" id="technician">
      <h1 class="spoken">Technician</h1>
      <p class="failed" role="alert" v-if="error">{{ error }}</p>
      <template v-if="state">
        <div class="half"><Guns :guns="guns"/><Health :facts="state.facts"/></div>
        <div class="half"><Bench/><Test :clinics="clinics"/></div>
        <Configuration :rows="rows"/>
      </template>
    </main>`,
  setup() {
    const state = ref(null);
    const rows = ref([]);
    const error = ref("");
    let due = 0;
    let over = false;
    async function refresh() {
      try {
        state.value = await get("/api/technician/state");
        if (!rows.value.length) rows.value = (await get("/api/technician/configuration")).rows;
        error.value = "";
      } catch (failure) {
        error.value = failure.message;
      }
      if (!over) due = setTimeout(refresh, REFRESH_MS);
    }
    refresh();
    onBeforeUnmount(() => { over = true; clearTimeout(due); });
    const guns = computed(() => state.value.guns.filter(ofClinic));
    const clinics = computed(() => [...new Set(state.value.guns.map((gun) => gun.clinic))].sort());
    return { state, rows, error, guns, clinics };
  },
};
