// The header of every view: where one can go, what calls, whether all is alive, who is signed in.
// Its sound is for alarms of high priority that nobody has acknowledged, and a person can silence it.

import { computed, onBeforeUnmount, reactive, ref, watch } from "vue";
import {
  PRIORITY_WORDS, clinic, keep, kept, login, ofClinic, post, timeOfDay, useMessage,
} from "myoguard_parts";

const SOUND_KEY = "myoguard.sound";
const BURST_EVERY_MS = 8000; // IEC 60601-1-8 leaves 2.5 to 15 s between bursts of high priority
const SILENCE_MS = 120000; // engineering choice: time to walk there; what comes new sounds all the same
// Onsets of a high-priority burst: three pulses, two, a pause, and the same again (IEC 60601-1-8).
const ONSETS_S = [0, 0.2, 0.4, 0.8, 1.0, 1.9, 2.1, 2.3, 2.7, 2.9];
const PULSE_S = 0.14;
// A fundamental and four harmonics, as the standard has it: one alone is lost in a noisy room.
const PITCHES_HZ = [523, 1046, 1569, 2092];

function burst(audio) {
  for (const onset of ONSETS_S) {
    const at = audio.currentTime + onset;
    const volume = audio.createGain();
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.12, at + 0.02);
    volume.gain.setValueAtTime(0.12, at + PULSE_S - 0.03);
    volume.gain.linearRampToValueAtTime(0, at + PULSE_S);
    volume.connect(audio.destination);
    for (const pitch of PITCHES_HZ) {
      const tone = audio.createOscillator();
      tone.frequency.value = pitch;
      tone.connect(volume);
      tone.start(at);
      tone.stop(at + PULSE_S);
    }
  }
}

// `calling`: keys of the alarms that are to be heard. Says how things stand, and takes a press.
function useSound(calling) {
  const on = ref(kept(SOUND_KEY, "on") === "on");
  const blocked = ref(false); // browsers are silent until somebody touched the page
  const silenced = ref(new Set());
  const audio = window.AudioContext ? new AudioContext() : null;
  const heard = computed(() => calling.value.filter((key) => !silenced.value.has(key)));
  const sounding = computed(() => on.value && heard.value.length > 0);
  let lastMs = -Infinity;
  let endSilence = 0;
  function beat() {
    blocked.value = on.value && (!audio || audio.state !== "running");
    if (!sounding.value) { lastMs = -Infinity; return; }
    if (blocked.value || performance.now() - lastMs < BURST_EVERY_MS) return;
    lastMs = performance.now();
    burst(audio);
  }
  const wake = () => audio?.resume().then(beat).catch(() => {});
  const timer = setInterval(beat, 500);
  watch(sounding, beat);
  for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, wake);
  onBeforeUnmount(() => {
    clearInterval(timer);
    clearTimeout(endSilence);
    for (const touch of ["pointerdown", "keydown"]) removeEventListener(touch, wake);
    audio?.close();
  });
  function press() {
    if (sounding.value) {
      silenced.value = new Set(calling.value);
      clearTimeout(endSilence);
      endSilence = setTimeout(() => { silenced.value = new Set(); }, SILENCE_MS);
      return;
    }
    on.value = !on.value;
    silenced.value = new Set();
    keep(SOUND_KEY, on.value ? "on" : "off");
    beat();
  }
  const words = computed(() => {
    if (!on.value) return "Sound off";
    if (blocked.value) return "Click once for sound";
    if (sounding.value) return "Silence for 2 min";
    return calling.value.length ? "Silenced" : "Sound on";
  });
  return { on, blocked, sounding, words, press };
}

// Speaks each alarm once, when it becomes active; low ones are left to the eye.
function useAnnouncements(calls) {
  const spoken = ref("");
  let known = new Set(calls.value.map((call) => call.key));
  watch(calls, (now) => {
    const fresh = now.filter((call) => !known.has(call.key));
    known = new Set(now.map((call) => call.key));
    if (!fresh.length) return;
    spoken.value = fresh
      .map((call) => `${PRIORITY_WORDS[call.priority]} alarm, ${call.device}: ${call.title}`)
      .join(". ");
  });
  return spoken;
}

export default {
  props: { message: String, login: Object, here: String, destinations: Array },
  template: `
    <header class="header">
      <a class="skip" href="#view">To the content</a>
      <a class="brand" href="/" aria-label="MyoGuard"><svg viewBox="0 0 32 32" aria-hidden="true">
        <circle cx="16" cy="16" r="15"/><path d="M4 17h6l3-8 5 15 4-10 2 3h4"/></svg><span>MyoGuard</span></a>
      <nav aria-label="Views"><a v-for="place in destinations" :key="place.path" :href="place.path"
        :aria-current="place.path === here ? 'page' : null">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path :d="place.icon"/></svg><span>{{ place.title }}</span>
        <b class="badge" v-if="place.path === '/alarms' && urgent" :aria-label="urgent + ' now'">{{ urgent }}</b></a></nav>
      <div class="tools">
        <label class="clinic" v-if="clinics.length > 1"><span class="spoken">Clinic</span>
          <select v-model="clinic"><option value="">All clinics</option>
            <option v-for="name in clinics" :key="name" :value="name">{{ name }}</option></select></label>
        <button type="button" class="sound" :class="{ off: !sound.on, blocked: sound.blocked, sounding: sound.sounding }"
          :title="sound.words" @click="sound.press()">
          <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M3 9.5v5h4l5 4.5v-14l-5 4.5z"/>
            <path v-if="sound.on" d="M15.5 9a4.5 4.5 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11"/>
            <path v-else d="m16 9.5 5 5M21 9.5l-5 5"/></svg><span>{{ sound.words }}</span></button>
        <p class="user" v-if="!login.open"><span><b>{{ login.name }}</b> <span class="role">{{ login.role }}</span></span>
          <button type="button" @click="signOut">Sign out</button></p>
        <time>{{ time }}</time>
      </div>
    </header>
    <p class="banner" v-if="login.open">No accounts yet: whoever sits at this machine may use all of this page,
      and it is served to no other. Make one with <code>myoguard account add NAME --role technician</code>.</p>
    <div class="notices" id="view" tabindex="-1">
      <p v-if="silentS" class="notice" role="alert">Nothing new has come for {{ silentS }} s. What is
        shown here is old: check that myoguard is running.</p>
      <p v-if="message.error" class="notice" role="alert">The store cannot be read: {{ message.error }}.</p>
      <p v-if="message.notice" class="notice" role="status">{{ message.notice }}.</p>
      <p v-if="fault" class="notice" role="alert">{{ fault }}</p>
    </div>
    <p class="spoken" aria-live="assertive">{{ spoken }}</p>`,
  setup(props) {
    Object.assign(login, props.login);
    const { message, silentS } = useMessage(props);
    const fault = ref("");
    const calls = computed(() => message.value.calls.filter(ofClinic));
    const calling = computed(() =>
      calls.value.filter((call) => call.priority === "high" && call.waits).map((call) => call.key));
    const clinics = computed(() => {
      const named = new Set(Object.keys(message.value.alarms_by_clinic));
      if (clinic.value) named.add(clinic.value);
      return [...named].sort();
    });
    const urgent = computed(() => Object.entries(message.value.alarms_by_clinic)
      .filter(([name]) => ofClinic({ clinic: name })).reduce((sum, [, count]) => sum + count, 0));
    const sound = useSound(calling);
    async function signOut() {
      try {
        location.href = (await post("/api/sign-out")).to;
      } catch (failure) {
        fault.value = failure.message;
      }
    }
    return {
      message, silentS, clinic, clinics, urgent, fault, signOut, login,
      sound: reactive(sound), // a template reads refs of an object only if that is reactive
      spoken: useAnnouncements(calls),
      time: computed(() => timeOfDay(message.value.now_s * 1000)),
    };
  },
};
