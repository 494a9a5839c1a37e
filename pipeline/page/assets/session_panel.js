// One session: its figures against guidance, its chart, its alarms with their black boxes.

import { computed, onMounted, ref } from "vue";
import { PriorityIcon, may, timeOfDay } from "myoguard_parts";
import {
  VerdictIcon, ZoomButtons, captureAddress, dayOf, downloadAddress, drawnChart, length, sessionAddress,
  sessionKey, showWindow, span,
} from "review_parts";

const AROUND_MS = 15000; // shown to each side of an alarm
const RAW_MS = 120000; // single samples are drawn where no more than this is in sight
const SETTLED_MS = 150; // after the last move of the chart, they are fetched
const RAW_LINES = ["raw_z", "raw_a"]; // after the time; the server sends them one after the other
const BAR_END_S = 120; // the bar of a site ends at what guidance ends at

// The chart's raw panels, filled with what is kept of the part in sight; gives the words about it.
function useRaw(id, line, kept) {
  const whole = kept.length === 1 && kept[0].to_ms - kept[0].from_ms > RAW_MS;
  const where = whole ? "Every sample is kept" : "Every sample is kept where the lowest panels are shaded";
  const far = `${where}: zoom in to two minutes or less to see them.`;
  const said = ref(far);
  let asked = 0;
  let timer = 0;
  function fill(chart, data) {
    chart.setOption({ series: RAW_LINES.map((name, order) => ({ id: name, data: data[order] ?? [] })) });
  }
  async function load(chart) {
    const [zoom] = chart.getOption().dataZoom;
    const [from, to] = [Math.floor(zoom.startValue), Math.ceil(zoom.endValue)];
    const turn = (asked += 1);
    const near = to - from <= RAW_MS;
    if (!near || !kept.some((span) => span.from_ms < to && from < span.to_ms)) {
      said.value = near ? "Of this part no single samples are kept." : far;
      fill(chart, []);
      return;
    }
    said.value = "Fetching the samples…";
    const answer = await fetch(`${downloadAddress(line, "samples")}&from_ms=${from}&to_ms=${to}`);
    const values = answer.ok ? new Float32Array(await answer.arrayBuffer()) : new Float32Array();
    if (turn !== asked) return; // the chart has moved on
    const count = values.length / (RAW_LINES.length + 1);
    const points = (order) => Array.from({ length: count }, (_, at) => [from + 1000 * values[at], values[(order + 1) * count + at]]);
    fill(chart, RAW_LINES.map((_, order) => points(order)));
    said.value = answer.ok ? "The lowest panels show every sample that is kept, or the extremes of several." : await answer.text();
  }
  onMounted(async () => {
    const chart = await drawnChart(id);
    chart?.on("datazoom", () => {
      clearTimeout(timer);
      timer = setTimeout(() => load(chart), SETTLED_MS);
    });
    if (chart) load(chart); // a short session is in sight whole
  });
  return said;
}

export default {
  components: { PriorityIcon, VerdictIcon, ZoomButtons },
  props: { message: String, chart: Number },
  template: `
    <main class="review session" aria-labelledby="session-title">
      <header class="review-head">
        <div><a class="back" href="/sessions">Sessions</a>
          <h1 id="session-title">{{ line.client ?? "Client not named" }}</h1>
          <p class="who">{{ when }}</p><p class="who">{{ who }}</p></div>
        <nav class="downloads" aria-label="Take this session along">
          <a class="button primary" :href="file('report.html')" target="_blank" rel="noopener">Report</a>
          <a class="button" :href="file('table.csv')" download>CSV</a>
          <a class="button" :href="file('table.parquet')" download>Parquet</a>
          <a class="button" :href="file('picture.png')" download>Picture</a>
          <a class="button" v-if="raw_files && may('therapist')" :href="whatIf">Try other limits</a>
        </nav>
      </header>
      <ul class="figures card">
        <li v-for="figure in figures" :key="figure.name"><b>{{ figure.value }}</b> {{ figure.name }}</li>
      </ul>
      <div class="review-body"><div class="review-main">
        <section class="charts" aria-labelledby="chart-title">
          <div class="charts-head"><h2 id="chart-title">Over time</h2><ZoomButtons v-if="has_values" :chart="chart"/></div>
          <p class="plain" v-if="review.is_cut">The first four hours are shown.</p>
          <p class="plain" v-if="about_raw" role="status">{{ about_raw }}</p>
          <p class="empty" v-if="!has_values">The seconds of this session are not in the store any more; its summary is.</p>
          <div v-show="has_values" tabindex="-1" ref="drawn"><slot></slot></div>
        </section>
        <section class="occurrences" aria-labelledby="alarms-title">
          <h2 id="alarms-title">{{ review.occurrences.length ? "Alarms" : "No alarm" }}</h2>
          <ol><li v-for="each in occurrences" :key="each.key" class="card">
            <PriorityIcon :priority="each.priority" :active="true"/>
            <div><h3>{{ each.title }}</h3>
              <p>{{ each.at }}</p>
              <p class="evidence" v-if="each.evidence">{{ each.evidence }}</p>
              <p class="plain" v-if="each.more">{{ each.more }}</p>
              <p class="buttons"><button type="button" v-if="has_values" @click="show(each)" :aria-label="'Show ' + each.title + ' at ' + each.clock + ' in the chart'">Show</button>
                <a v-if="each.capture" class="button" :href="each.address" :aria-label="'Raw samples of ' + each.title + ' at ' + each.clock">Raw samples</a></p></div>
          </li></ol>
        </section>
        <section class="card advice" aria-labelledby="advice-title" v-if="review.guidance.length">
          <h2 id="advice-title">Advice at the start</h2>
          <ul><li v-for="sentence in review.guidance" :key="sentence">{{ sentence }}</li></ul>
        </section>
        <form class="card compare-form" v-if="others.length" method="get" action="/compare" aria-labelledby="compare-title">
          <h2 id="compare-title">Compare</h2>
          <input type="hidden" name="a" :value="key">
          <label>with <select name="b"><option v-for="other in others" :key="other.key" :value="other.key">{{ other.name }}</option></select></label>
          <button type="submit" class="primary">Compare</button>
        </form>
      </div>
        <aside>
          <section class="card" aria-labelledby="guidance-title" v-if="review.checks.length">
            <h2 id="guidance-title">Against guidance</h2>
            <ul class="checks"><li v-for="check in review.checks" :key="check.title">
              <VerdictIcon :verdict="check.verdict"/>
              <div><p><b>{{ check.title }}</b> <span class="value">{{ check.value }}</span></p><p class="plain">{{ check.said }}</p></div></li></ul>
          </section>
          <section class="card" aria-labelledby="sites-title" v-if="review.site_times.length">
            <h2 id="sites-title">Contact by site</h2>
            <ul class="site-times"><li v-for="site in sites" :key="site.site">
              <p><span>{{ site.site }}</span><b>{{ site.length }}</b></p>
              <div class="site-bar" aria-hidden="true"><span class="ideal"></span><span class="fill" :class="site.verdict" :style="{ width: site.width }"></span></div>
              <p class="plain">{{ site.said }}</p></li></ul>
            <p class="plain key"><span class="ideal-key" aria-hidden="true"></span>15 to 30 s a large muscle group, as a warm-up; the bar ends at 2 min</p>
          </section>
          <section class="card" aria-labelledby="force-title" v-if="line.contact_s">
            <h2 id="force-title">Force</h2>
            <ul class="histogram" aria-label="Seconds of contact by force">
              <li v-for="band in bands" :key="band.name"><span class="name">{{ band.name }}</span>
                <span class="track" aria-hidden="true"><span :style="{ width: band.width }"></span></span>
                <span class="seconds">{{ band.length }}</span></li></ul>
          </section>
        </aside>
      </div>
    </main>`,
  setup(props) {
    const { review, others, raw_files, has_values } = JSON.parse(props.message);
    const { line } = review;
    const drawn = ref(null);
    const figures = [
      { value: length(line.contact_s), name: "in contact" },
      { value: `${Math.round(line.force_n_mean)} N`, name: "mean force" },
      { value: `${Math.round(line.force_n_max)} N`, name: "highest force" },
      { value: `${Math.round(line.dwell_s_max)} s`, name: "longest on one spot" },
      { value: String(review.occurrences.length), name: review.occurrences.length === 1 ? "alarm" : "alarms" },
    ];
    const sites = review.site_times.map((site) => ({
      ...site, length: length(site.contact_s), width: `${Math.min(site.contact_s / BAR_END_S, 1) * 100}%`,
    }));
    const longest = Math.max(...review.histogram_s, 1e-9);
    const bands = review.histogram_s
      .map((seconds, band) => ({
        seconds, name: band < 10 ? `${band * 10}–${band * 10 + 10} N` : "over 100 N", length: length(seconds),
        width: `${(seconds / longest) * 100}%`,
      }))
      .filter(({ seconds }) => seconds > 0);
    const occurrences = review.occurrences.map((each) => ({
      ...each,
      clock: timeOfDay(each.from_ms, true),
      at: `${timeOfDay(each.from_ms, true)}, ${each.goes_on ? "not over" : `for ${length((each.to_ms - each.from_ms) / 1000)}`}`,
      more: [each.site, ...each.notes].filter(Boolean).join(" · "),
      address: each.capture && captureAddress(line, each.capture),
    }));
    function show(each) {
      showWindow(props.chart, each.from_ms - AROUND_MS, Math.max(each.to_ms, each.from_ms) + AROUND_MS);
      const smooth = !matchMedia("(prefers-reduced-motion: reduce)").matches;
      drawn.value.scrollIntoView({ behavior: smooth ? "smooth" : "auto", block: "start" });
      drawn.value.focus({ preventScroll: true });
    }
    const about_raw = has_values && review.raw.length ? useRaw(props.chart, line, review.raw) : null;
    const kept = raw_files ? "kept whole, raw" : null;
    return {
      review, line, raw_files, may, has_values, about_raw, figures, sites, bands, occurrences, show, drawn,
      key: sessionKey(line),
      whatIf: `/what-if?session=${encodeURIComponent(sessionKey(line))}`,
      others: others.map((other) => ({ key: sessionKey(other), name: `${dayOf(other.started_ms)}, ${timeOfDay(other.started_ms)}, ${other.operator ?? other.device}` })),
      when: `${dayOf(line.started_ms)}, ${span(line)}`,
      who: computed(() => [line.operator, line.device, line.clinic, `session ${line.session_id}`, kept].filter(Boolean).join(" · ")),
      file: (name) => downloadAddress(line, name),
      sessionAddress,
    };
  },
};
