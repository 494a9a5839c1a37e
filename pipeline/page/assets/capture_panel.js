// The black box of an alarm: every raw sample from 20 s before it to 10 s after it.

import { onMounted, ref } from "vue";
import { PriorityIcon, timeOfDay } from "myoguard_parts";
import { ZoomButtons, captureAddress, dayOf, drawnChart, sessionAddress, showWindow } from "review_parts";

const COLUMNS = ["x", "y", "z", "current"]; // after the time; the server sends them one after the other

// Every line takes its samples as pairs of numbers.
function seriesOf(buffer) {
  const values = new Float32Array(buffer);
  const count = values.length / (COLUMNS.length + 1);
  return COLUMNS.map((id, order) => {
    const data = new Float32Array(count * 2);
    for (let at = 0; at < count; at += 1) {
      data[2 * at] = values[at];
      data[2 * at + 1] = values[(order + 1) * count + at];
    }
    return { id, data };
  });
}

export default {
  components: { PriorityIcon, ZoomButtons },
  props: { message: String, chart: Number },
  template: `
    <main class="review capture" aria-labelledby="capture-title">
      <header class="review-head">
        <div><a class="back" :href="back.href">{{ back.words }}</a>
          <h1 id="capture-title"><PriorityIcon :priority="alarm.priority" :active="true"/> {{ alarm.title }}</h1>
          <p class="who">{{ when }}</p><p class="who">{{ who }}</p>
          <p class="evidence" v-if="alarm.evidence">{{ alarm.evidence }}</p></div>
        <nav class="downloads" aria-label="Take this capture along">
          <a class="button" :href="download" download>Recording</a></nav>
      </header>
      <section class="charts" aria-labelledby="chart-title">
        <div class="charts-head"><h2 id="chart-title">Raw samples</h2>
          <button type="button" @click="near(0.5)">1 s around the alarm</button>
          <button type="button" @click="near(0.05)">0.1 s</button>
          <ZoomButtons :chart="chart"/></div>
        <p class="plain">{{ about }}</p>
        <p class="plain" role="status" v-if="state">{{ state }}</p>
        <slot></slot>
      </section>
    </main>`,
  setup(props) {
    const told = JSON.parse(props.message);
    const { alarm } = told;
    const inSession = told.session_id != null;
    const line = { clinic: alarm.clinic, device: alarm.device, session_id: told.session_id };
    const seconds = (value) => `${Math.abs(value).toFixed(0)} s`;
    const state = ref("Fetching the samples…");
    onMounted(async () => {
      try {
        const answer = await fetch(`/download${captureAddress(alarm, told.name)}.samples`);
        if (!answer.ok) throw new Error(await answer.text());
        const [chart, buffer] = await Promise.all([drawnChart(props.chart), answer.arrayBuffer()]);
        chart.setOption({ series: seriesOf(buffer) });
        state.value = "";
      } catch (failure) {
        state.value = `The samples could not be fetched: ${failure.message}`;
      }
    });
    return {
      alarm, state,
      back: inSession
        ? { href: sessionAddress(line), words: told.client ? `Session of ${told.client}` : "Its session" }
        : { href: "/alarms", words: "Alarms" },
      when: `${dayOf(told.at_ms)}, ${timeOfDay(told.at_ms, true)}`,
      who: [alarm.operator, alarm.site, alarm.device, alarm.clinic].filter(Boolean).join(" · "),
      about: `${seconds(told.from_s)} before to ${seconds(told.to_s)} after, ${Math.round(told.rate_hz)} samples a second. `
        + "Drag to move, Ctrl and wheel or the buttons to zoom, down to the single sample. "
        + "The recording can be judged again: myoguard replay.",
      download: `/download${captureAddress(alarm, told.name)}.parquet`,
      near: (half) => showWindow(props.chart, -half, half),
    };
  },
};
