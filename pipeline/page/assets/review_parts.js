// What the views that look back share: addresses, times, and the buttons that move a chart.
// Everything from the network is drawn as text by Vue ({{ }}); there is no v-html anywhere.

import { computed } from "vue";
import { timeOfDay } from "myoguard_parts";

export function sessionAddress(line) {
  const gun = `${encodeURIComponent(line.clinic)}/${encodeURIComponent(line.device)}`;
  return `/session/${gun}?id=${encodeURIComponent(line.session_id)}`;
}

export function downloadAddress(line, file) {
  const gun = `${encodeURIComponent(line.clinic)}/${encodeURIComponent(line.device)}`;
  return `/download/session/${gun}/${file}?id=${encodeURIComponent(line.session_id)}`;
}

export function captureAddress(line, name) {
  return `/capture/${encodeURIComponent(line.clinic)}/${encodeURIComponent(line.device)}/${encodeURIComponent(name)}`;
}

export const sessionKey = (line) => `${line.clinic}/${line.device}/${line.session_id}`;

export function dayOf(milliseconds) {
  return new Date(milliseconds).toLocaleDateString([], { weekday: "short", day: "numeric", month: "short", year: "numeric" });
}

export function span(line) {
  return line.ended_ms ? `${timeOfDay(line.started_ms)} – ${timeOfDay(line.ended_ms)}` : `${timeOfDay(line.started_ms)}, still open`;
}

export function length(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const STEP = 0.5; // of what is in sight: how far a button moves, and how much one zooms in

// The chart of an element, once it is drawn; and a window of it by values of the axis.
export function chartOf(id) {
  return window.getElement?.(id)?.chart ?? null;
}

export async function drawnChart(id) {
  let chart = null;
  for (let tries = 0; tries < 1200 && !chart; tries += 1) {
    // First of all: while a page is being put together, getElement has nothing to look in, and throws.
    await new Promise((done) => setTimeout(done, 50));
    chart = chartOf(id);
  }
  return chart;
}

export function showWindow(id, from, to) {
  chartOf(id)?.dispatchAction({ type: "dataZoom", dataZoomIndex: 0, startValue: from, endValue: to });
}

// For the keyboard, and for whoever does not guess that a chart can be dragged.
export const ZoomButtons = {
  props: { chart: Number },
  template: `
    <div class="zoom-buttons" role="group" aria-label="What the chart shows">
      <button type="button" @click="move(-1)" aria-label="Earlier" title="Earlier"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="m14.5 5-7 7 7 7"/></svg></button>
      <button type="button" @click="zoom(0.5)" aria-label="Zoom in" title="Zoom in"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 5v14M5 12h14"/></svg></button>
      <button type="button" @click="zoom(2)" aria-label="Zoom out" title="Zoom out"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M5 12h14"/></svg></button>
      <button type="button" @click="move(1)" aria-label="Later" title="Later"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="m9.5 5 7 7-7 7"/></svg></button>
      <button type="button" class="wide" @click="set(0, 100)">All</button>
    </div>`,
  setup(props) {
    function seen() {
      const [zoom] = chartOf(props.chart)?.getOption().dataZoom ?? [];
      return zoom ? [zoom.start, zoom.end] : [0, 100];
    }
    function set(start, end) {
      chartOf(props.chart)?.dispatchAction({ type: "dataZoom", dataZoomIndex: 0, start, end });
    }
    function place(middle, width) {
      const half = Math.min(width, 100) / 2;
      const at = Math.min(Math.max(middle, half), 100 - half);
      set(at - half, at + half);
    }
    function zoom(factor) {
      const [start, end] = seen();
      place((start + end) / 2, (end - start) * factor);
    }
    function move(direction) {
      const [start, end] = seen();
      place((start + end) / 2 + direction * STEP * (end - start), end - start);
    }
    return { move, zoom, set };
  },
};

const VERDICT_WORDS = { within: "Within guidance", beside: "Worth a look", beyond: "Over a limit", unknown: "Not known" };
const VERDICT_SHAPES = {
  within: "m5 12.5 4.5 4.5L19 7.5",
  beside: "M12 6v8M12 18v.1",
  beyond: "M6 6l12 12M18 6 6 18",
  unknown: "M6 12h12",
};

// A shape as well as a colour, and words for whoever sees neither.
export const VerdictIcon = {
  props: { verdict: String },
  template: `
    <svg class="verdict" :class="verdict" viewBox="0 0 24 24" role="img" :aria-label="words">
      <circle cx="12" cy="12" r="11"/><path :d="shape"/></svg>`,
  setup(props) {
    return { words: computed(() => VERDICT_WORDS[props.verdict]), shape: computed(() => VERDICT_SHAPES[props.verdict]) };
  },
};
