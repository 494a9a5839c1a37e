// Two sessions over each other, each from its start on, and their figures side by side.

import { ZoomButtons, dayOf, length, sessionAddress, span } from "review_parts";

export default {
  components: { ZoomButtons },
  props: { message: String, chart: Number },
  template: `
    <main class="review compare" aria-labelledby="compare-title">
      <header class="review-head"><div><a class="back" href="/sessions">Sessions</a>
        <h1 id="compare-title">Two sessions</h1></div></header>
      <div class="card table-card"><table class="compared">
        <thead><tr><th scope="col"><span class="spoken">Figure</span></th>
          <th scope="col" v-for="(one, order) in both" :key="one.address"><span class="stroke" :class="{ second: order }" aria-hidden="true"></span>
            <a :href="one.address">{{ one.client }}</a><span class="plain">{{ one.when }}</span><span class="plain">{{ one.by }}</span></th></tr></thead>
        <tbody><tr v-for="row in rows" :key="row.name"><th scope="row">{{ row.name }}</th>
          <td v-for="(value, order) in row.values" :key="order">{{ value }}</td></tr></tbody>
      </table></div>
      <section class="charts" aria-labelledby="chart-title">
        <div class="charts-head"><h2 id="chart-title">Since the start</h2><ZoomButtons :chart="chart"/></div>
        <slot></slot>
      </section>
    </main>`,
  setup(props) {
    const reviews = JSON.parse(props.message);
    const both = reviews.map(({ line }) => ({
      client: line.client ?? "Client not named",
      when: `${dayOf(line.started_ms)}, ${span(line)}`,
      by: [line.operator, line.device].filter(Boolean).join(" · "),
      address: sessionAddress(line),
    }));
    const row = (name, value) => ({ name, values: reviews.map(value) });
    const checks = [...new Set(reviews.flatMap((each) => each.checks.map((check) => check.title)))];
    const words = { within: "within", beside: "worth a look", beyond: "over a limit", unknown: "not known" };
    const sites = [...new Set(reviews.flatMap((each) => each.site_times.map((site) => site.site)))];
    const rows = [
      row("In contact", ({ line }) => length(line.contact_s)),
      row("Mean force", ({ line }) => `${Math.round(line.force_n_mean)} N`),
      row("Highest force", ({ line }) => `${Math.round(line.force_n_max)} N`),
      row("Longest on one spot", ({ line }) => `${Math.round(line.dwell_s_max)} s`),
      row("Alarms", ({ occurrences }) => String(occurrences.length || "none")),
      ...checks.map((title) => row(title, ({ checks: own }) => {
        const check = own.find((each) => each.title === title);
        return check ? `${check.value}, ${words[check.verdict]}` : "–";
      })),
      ...sites.map((name) => row(name, ({ site_times: own }) => {
        const site = own.find((each) => each.site === name);
        return site ? length(site.contact_s) : "–";
      })),
    ];
    return { both, rows };
  },
};
