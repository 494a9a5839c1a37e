// The parts that every view is drawn with: a gun's tile, an alarm, who is signed in.
// Everything from the network is drawn as text by Vue ({{ }}); there is no v-html anywhere.

import { computed, nextTick, onBeforeUnmount, reactive, ref, shallowRef, watch } from "vue";

const STALE_AFTER_MS = 3000; // a dozen messages: what is on the screen is then old
const QUIET_AFTER_S = 60; // a gun at rest may send little; what it said then is no longer news
const BAR_LIMITS = 1.5; // the bar ends at one and a half times the limit, so that excess is seen

export const PRIORITY_WORDS = { high: "High", medium: "Medium", low: "Low" };

export function duration(seconds) {
  const [size, unit] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "min"]
    : seconds < 86400 ? [3600, "h"] : [86400, "d"];
  return `${Math.floor(seconds / size)}\u00a0${unit}`;
}

// Hours count to 24, as at the axes of charts.
export function timeOfDay(milliseconds, seconds = false) {
  const digits = { hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) };
  return new Date(milliseconds).toLocaleTimeString([], { ...digits, hourCycle: "h23" });
}

export function gunAddress(gun) {
  return `/gun/${encodeURIComponent(gun.clinic)}/${encodeURIComponent(gun.device)}`;
}

// Who is signed in; the header, which is on every page, fills it. The server decides what a role may.
export const login = reactive({ name: "", role: "viewer", csrf: "", open: false });
const ROLES = ["viewer", "therapist", "technician"];
export const may = (role) => ROLES.indexOf(login.role) >= ROLES.indexOf(role);

// The clinic that is looked at, "" for all: the same on every view, and kept for the next visit.
const CLINIC_KEY = "myoguard.clinic";
export const clinic = ref(new URLSearchParams(location.search).get("clinic") ?? kept(CLINIC_KEY, ""));
watch(clinic, (name) => {
  keep(CLINIC_KEY, name);
  const query = new URLSearchParams(location.search);
  if (name) query.set("clinic", name);
  else query.delete("clinic");
  history.replaceState(history.state, "", query.size ? `?${query}` : location.pathname);
});
export const ofClinic = (thing) => !clinic.value || thing.clinic === clinic.value;

// A browser that lets a page keep nothing is no reason to fail.
export function kept(key, otherwise) {
  try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; }
}
export function keep(key, value) {
  try { localStorage.setItem(key, value); } catch { /* it lasts as long as the page, then */ }
}

// Ask the server to do something; its answer, or an Error with a sentence for people.
export async function post(path, body, headers = { "Content-Type": "application/json" }) {
  const own = body instanceof FormData ? {} : headers;
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { ...own, "X-MyoGuard-CSRF": login.csrf },
      body: body instanceof FormData ? body : JSON.stringify(body ?? {}),
    });
  } catch {
    throw new Error("MyoGuard cannot be reached. Nothing was done.");
  }
  return answerOf(response);
}

export async function get(path) {
  let response;
  try {
    response = await fetch(path);
  } catch {
    throw new Error("MyoGuard cannot be reached.");
  }
  return answerOf(response);
}

async function answerOf(response) {
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  const answer = isJson ? await response.json() : await response.text();
  if (response.ok) return answer;
  const said = typeof answer === "string" ? answer : answer.detail;
  throw new Error(typeof said === "string" ? said : "The server could not read that. Check what is filled in.");
}

// The last message of an element, and for how many seconds there has been none.
export function useMessage(props) {
  const message = shallowRef(JSON.parse(props.message));
  const silentS = ref(0);
  let cameAt = performance.now();
  watch(() => props.message, (text) => {
    cameAt = performance.now();
    silentS.value = 0;
    message.value = JSON.parse(text);
  });
  const timer = setInterval(() => {
    const silentMs = performance.now() - cameAt;
    silentS.value = silentMs > STALE_AFTER_MS ? Math.round(silentMs / 1000) : 0;
  }, 500);
  onBeforeUnmount(() => clearInterval(timer));
  return { message, silentS };
}

// Shape and number of marks tell the priority without colour, after IEC 60601-1-8.
export const PriorityIcon = {
  props: { priority: String, active: Boolean },
  template: `
    <svg class="priority-icon" :class="[priority, { over: !active }]" viewBox="0 0 24 24"
         role="img" :aria-label="label">
      <path v-if="priority === 'high'" class="shape" d="M7.6 1.5h8.8l6.1 6.1v8.8l-6.1 6.1H7.6l-6.1-6.1V7.6z"/>
      <path v-else-if="priority === 'medium'" class="shape" d="M12 2 23.2 21.5H.8z"/>
      <circle v-else class="shape" cx="12" cy="12" r="10.4"/>
      <g class="marks" v-if="priority === 'high'"><path d="M7.5 6v7.5M12 6v7.5M16.5 6v7.5"/>
        <path d="M7.5 17.6v.1M12 17.6v.1M16.5 17.6v.1"/></g>
      <g class="marks" v-else-if="priority === 'medium'"><path d="M9.8 9.5v5M14.2 9.5v5"/>
        <path d="M9.8 18.2v.1M14.2 18.2v.1"/></g>
      <g class="marks" v-else><path d="M12 6.5v7"/><path d="M12 17.4v.1"/></g>
    </svg>`,
  setup(props) {
    const label = computed(() => `${PRIORITY_WORDS[props.priority]} priority`);
    return { label };
  },
};

const STATE_SHAPES = {
  contact: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z",
  air: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zm0 2.6a3.9 3.9 0 1 0 0 7.8 3.9 3.9 0 0 0 0-7.8z",
  resting: "M2 6.6h12v2.8H2z",
  silent: "M7 2h2v8H7zM7 12h2v2.4H7z",
  unheard: "M7 2h2v8H7zM7 12h2v2.4H7z",
  offline: "M3.2 1.4 8 6.2l4.8-4.8 1.8 1.8L9.8 8l4.8 4.8-1.8 1.8L8 9.8l-4.8 4.8-1.8-1.8L6.2 8 1.4 3.2z",
};

const GunState = {
  props: { gun: Object },
  template: `
    <span class="gun-state" :class="gun.state">
      <svg viewBox="0 0 16 16" aria-hidden="true"><path :d="shape"/></svg>{{ words }}
    </span>`,
  setup(props) {
    const shape = computed(() => STATE_SHAPES[props.gun.state]);
    const age = computed(() => duration(props.gun.silent_s));
    const words = computed(() => ({
      contact: "In contact",
      air: "In the air",
      resting: props.gun.silent_s > QUIET_AFTER_S ? `Last heard ${age.value} ago` : "Motor off",
      silent: `No values for ${age.value}`,
      unheard: "No values yet",
      offline: "Offline",
    })[props.gun.state]);
    return { shape, words };
  },
};

const Battery = {
  props: { volts: Number },
  template: `
    <span class="battery" v-if="volts" :aria-label="'Battery ' + volts.toFixed(1) + ' volts'">
      <svg viewBox="0 0 22 12" aria-hidden="true"><path d="M1 1h17v10H1zM19.5 4v4" fill="none"
        stroke="currentColor" stroke-width="1.8"/><path d="M4 4v4M8 4v4M12 4v4" stroke="currentColor"
        stroke-width="2.2"/></svg>{{ volts.toFixed(1) }} V
    </span>`,
};

// Fills as the head stays: a full ring is the limit, the notch the advisory.
const RING = 2 * Math.PI * 42;
const DwellRing = {
  props: { readings: Object, limits: Object },
  template: `
    <svg class="ring" :class="level" viewBox="0 0 100 100" role="img" :aria-label="label">
      <circle class="track" cx="50" cy="50" r="42"/>
      <circle class="fill" cx="50" cy="50" r="42" transform="rotate(-90 50 50)"
              :stroke-dasharray="dash"/>
      <path class="notch" d="M50 1.5v13" :transform="'rotate(' + notch + ' 50 50)'"/>
      <path class="notch limit" d="M50 0v16"/>
      <text class="number" x="50" y="58">{{ seconds ?? "–" }}</text>
      <text class="unit" x="50" y="76">of {{ limits.dwell_s }} s</text>
    </svg>`,
  setup(props) {
    const seconds = computed(() => {
      const dwell = props.readings?.dwell_s;
      return dwell == null ? null : Math.floor(dwell);
    });
    const dash = computed(() => {
      const share = Math.min((props.readings?.dwell_s ?? 0) / props.limits.dwell_s, 1);
      return `${(share * RING).toFixed(1)} ${RING}`;
    });
    const notch = computed(() => (360 * props.limits.dwell_advisory_s) / props.limits.dwell_s);
    const level = computed(() => {
      if (seconds.value >= props.limits.dwell_s) return "over";
      return seconds.value >= props.limits.dwell_advisory_s ? "near" : "";
    });
    const label = computed(() => seconds.value == null
      ? "Dwell on one spot: not known"
      : `Dwell on one spot: ${seconds.value} of ${props.limits.dwell_s} seconds`);
    return { seconds, dash, notch, level, label };
  },
};

const ForceBar = {
  props: { gun: Object },
  template: `
    <div class="force" :class="{ over }" role="meter" aria-label="Contact force, newtons"
         aria-valuemin="0" :aria-valuemax="end" :aria-valuenow="force ?? 0" :aria-valuetext="label">
      <div class="force-value"><span class="number"><span class="about" v-if="rough">≈ </span>{{ force ?? "–" }}</span>
        <span class="of">of {{ limit }} N</span></div>
      <div class="bar"><div class="fill" :style="{ width: filled }"></div>
        <div class="limit-mark"></div></div>
    </div>`,
  setup(props) {
    const limit = computed(() => props.gun.limits.force_n);
    const end = computed(() => limit.value * BAR_LIMITS);
    const exact = computed(() => props.gun.readings?.force_n ?? null);
    const force = computed(() => (exact.value == null ? null : Math.round(exact.value)));
    const over = computed(() => exact.value > limit.value);
    const filled = computed(() => `${Math.min(((exact.value ?? 0) / end.value) * 100, 100)}%`);
    const rough = computed(() => force.value != null && !props.gun.calibrated);
    const label = computed(() => force.value == null
      ? "no contact"
      : `${force.value} newtons, limit ${limit.value}${rough.value ? ", a rough figure" : ""}`);
    return { limit, end, force, over, filled, rough, label };
  },
};

const TISSUES = ["muscle", "tendon", "bone"];
const Tissue = {
  props: { readings: Object },
  template: `
    <span class="tissue" role="img" :aria-label="'Under the head: ' + (word ?? 'not known')">
      <span v-for="tissue in tissues" :key="tissue" :class="[tissue, { here: tissue === word }]"
            aria-hidden="true">{{ tissue }}</span>
    </span>`,
  setup(props) {
    const word = computed(() => props.readings?.tissue ?? null);
    return { word, tissues: TISSUES };
  },
};

// One line, so that all tiles are of one height: the most urgent alarm, and how many there are more.
const AlarmStrip = {
  components: { PriorityIcon },
  props: { gun: Object },
  template: `
    <p class="strip" v-if="!alarm"><span class="strip-title">No alarm</span></p>
    <p class="strip" v-else :class="[alarm.priority, { urgent: alarm.urgent }]">
      <PriorityIcon :priority="alarm.priority" :active="alarm.active"/>
      <span class="strip-title">{{ alarm.title }}</span><span class="age">{{ age }}</span>
    </p>`,
  setup(props) {
    const alarm = computed(() => props.gun.alarm);
    const age = computed(() => {
      const { active, age_s } = alarm.value;
      const more = props.gun.alarms_standing - 1;
      const words = active ? `for ${duration(age_s)}` : `${duration(age_s)} ago`;
      return more ? `${words} · +${more}` : words;
    });
    return { alarm, age };
  },
};

export const GunTile = {
  components: { AlarmStrip, Battery, DwellRing, ForceBar, GunState, Tissue },
  props: { gun: Object, showClinic: Boolean, alone: Boolean },
  template: `
    <article class="tile" :class="[gun.state, gun.attention && 'attention-' + gun.attention, { calls: gun.calls }]"
             :data-gun="gun.clinic + '/' + gun.device">
      <div class="tile-head">
        <h2 v-if="alone">Now</h2><h3 v-else><a :href="address">{{ gun.device }}</a></h3>
        <Battery :volts="gun.battery_v"/>
      </div>
      <p class="who">{{ who }}</p>
      <div class="gauges">
        <DwellRing :readings="gun.readings" :limits="gun.limits"/>
        <div class="column">
          <ForceBar :gun="gun"/>
          <Tissue :readings="gun.readings"/>
        </div>
      </div>
      <p class="tile-foot"><GunState :gun="gun"/><span class="speed" v-if="speed">{{ speed }}</span></p>
      <AlarmStrip v-if="!alone" :gun="gun"/>
    </article>`,
  setup(props) {
    const address = computed(() => gunAddress(props.gun));
    const who = computed(() => {
      const { gun } = props;
      const session = gun.in_session ? gun.operator ?? "in session" : "no session";
      const words = [session, gun.in_session ? gun.site ?? "site not named" : null];
      return [...words, props.showClinic ? gun.clinic : null].filter(Boolean).join(" · ");
    });
    const speed = computed(() => {
      const hertz = props.gun.readings?.percussion_hz;
      return hertz ? `${Math.round(hertz)} Hz` : "";
    });
    return { address, who, speed };
  },
};

export const GunChip = {
  components: { Battery, GunState, PriorityIcon },
  props: { gun: Object, showClinic: Boolean },
  template: `
    <article class="chip" :class="gun.state" :data-gun="gun.clinic + '/' + gun.device">
      <div class="tile-head">
        <h3><a :href="address">{{ gun.device }}</a></h3>
        <PriorityIcon v-if="gun.alarm" :priority="gun.alarm.priority" :active="gun.alarm.active"/>
      </div>
      <p class="tile-foot"><GunState :gun="gun"/><Battery :volts="gun.battery_v"/></p>
      <p class="who" v-if="showClinic">{{ gun.clinic }}</p>
    </article>`,
  setup(props) {
    return { address: computed(() => gunAddress(props.gun)) };
  },
};

// What can be done about an alarm, and what somebody asked already. It changes when the pipeline says so.
const ACTION_WORDS = { ack: "Acknowledge", shelve: "Shelve…", unshelve: "Unshelve", reset: "Reset" };
const ASKED_WORDS = { ack: "Acknowledging", shelve: "Shelving", unshelve: "Unshelving", reset: "Resetting" };
const ROLE_OF = { ack: "therapist", unshelve: "therapist", shelve: "technician", reset: "technician" };
const SHELF_CHOICES = [[15, "15 min"], [60, "1 h"], [240, "4 h"], [480, "8 h"]];

export const AlarmActions = {
  props: { alarm: Object, brief: Boolean },
  template: `
    <div class="actions" v-if="asked || error || offered.length">
      <p class="asked" v-if="asked && !asked.failed" role="status"><span class="dots" aria-hidden="true"></span>
        {{ askedWords }}</p>
      <p class="failed" v-else-if="asked" role="alert">{{ askedWords }}: {{ asked.failed }}.</p>
      <p class="failed" v-if="error" role="alert">{{ error }}</p>
      <div class="buttons" v-if="!shelving">
        <button v-for="action in offered" :key="action" type="button" :class="{ primary: alarm.active && action !== 'shelve' }"
          :disabled="busy" :aria-label="words(action) + ': ' + alarm.title + ', ' + alarm.device"
          @click="press(action)">{{ words(action) }}</button>
      </div>
      <form class="shelf" v-else @submit.prevent="shelve">
        <label>Hide it for <select v-model.number="minutes" ref="first">
          <option v-for="[value, name] in choices" :key="value" :value="value">{{ name }}</option></select></label>
        <label>Why <input v-model.trim="note" maxlength="256" required></label>
        <div class="buttons"><button type="submit" class="primary" :disabled="busy || !note">Shelve</button>
          <button type="button" @click="shelving = false">Cancel</button></div>
      </form>
    </div>`,
  setup(props) {
    const busy = ref(false);
    const error = ref("");
    const shelving = ref(false);
    const minutes = ref(60);
    const note = ref("");
    const first = ref(null);
    const asked = computed(() => props.alarm.asked);
    const offered = computed(() => {
      if (asked.value && !asked.value.failed) return [];
      const { actions, priority } = props.alarm;
      // A low alarm asks nothing of anybody: among the others its button would only be in the way.
      const asks = (action) => !props.brief || (action !== "shelve" && priority !== "low");
      return actions.filter((action) => may(ROLE_OF[action]) && asks(action));
    });
    const askedWords = computed(() => `${ASKED_WORDS[asked.value.action]}, ${asked.value.by}`);
    async function send(action, more = {}) {
      const { clinic: ofClinic_, device, rule, alarm_id } = props.alarm;
      busy.value = true;
      error.value = "";
      try {
        const path = [ofClinic_, device, rule].map(encodeURIComponent).join("/");
        await post(`/api/alarms/${path}`, { action, alarm_id, ...more });
        shelving.value = false;
      } catch (failure) {
        error.value = failure.message;
      }
      busy.value = false;
    }
    async function press(action) {
      if (action !== "shelve") return send(action);
      shelving.value = true;
      await nextTick();
      first.value?.focus();
    }
    return {
      busy, error, shelving, minutes, note, first, asked, offered, askedWords, press,
      choices: SHELF_CHOICES,
      words: (action) => ACTION_WORDS[action],
      shelve: () => send("shelve", { minutes: minutes.value, note: note.value }),
    };
  },
};

export const AlarmItem = {
  components: { AlarmActions, PriorityIcon },
  props: { alarm: Object, ofGun: Boolean, full: Boolean },
  template: `
    <article class="alarm" :class="[alarm.priority, { over: !alarm.active, waits: alarm.waits }]">
      <PriorityIcon :priority="alarm.priority" :active="alarm.active"/>
      <div>
        <h3>{{ alarm.title }}</h3>
        <p class="where" v-if="!ofGun"><a :href="address">{{ alarm.device }}</a>{{ where }}</p>
        <p class="where" v-else-if="where">{{ where }}</p>
        <p class="evidence" v-if="evidence">{{ evidence }}</p>
        <p class="standing"><b>{{ priority }}</b>, {{ state }}</p>
        <p class="said" v-if="said">{{ said }}</p>
        <p class="advice" v-if="(ofGun || full) && alarm.active && alarm.advice">{{ alarm.advice }}</p>
        <AlarmActions :alarm="alarm" :brief="!ofGun && !full"/>
      </div>
    </article>`,
  setup(props) {
    const address = computed(() => gunAddress(props.alarm));
    const where = computed(() => {
      const { site, operator, clinic: its } = props.alarm;
      const words = [site, operator, props.full && !clinic.value ? its : null].filter(Boolean).join(" · ");
      return props.ofGun || !words ? words : ` · ${words}`;
    });
    const evidence = computed(() => {
      const { alarm } = props;
      const peak = (props.ofGun || props.full) && alarm.peak ? `peak ${alarm.peak}` : "";
      return [alarm.evidence, peak, ...alarm.notes].filter(Boolean).join(" · ");
    });
    const state = computed(() => {
      const { alarm } = props;
      const words = alarm.state_text.replace("{}", duration(alarm.age_s));
      return alarm.until_ms ? `${words}, until ${timeOfDay(alarm.until_ms)}` : words;
    });
    const said = computed(() => {
      const { by, note } = props.alarm;
      if (!(props.ofGun || props.full) || !by) return note && props.full ? note : "";
      return note ? `${by}: “${note}”` : `by ${by}`;
    });
    return { address, where, evidence, state, said, priority: computed(() => PRIORITY_WORDS[props.alarm.priority]) };
  },
};
