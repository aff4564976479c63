// A served model in short: what it is for, how it was measured, which weights run where. The rest is in its card.

import { button, element, readySign, table } from "../dom.js";
import { nameOf } from "../format.js";

function measure(metric) {
  const interval = metric.interval ? ` (95 % interval ${metric.interval.map((x) => x.toFixed(3)).join(" to ")})` : "";
  return element("tr", {},
    element("th", { scope: "row", text: nameOf(metric.name) }),
    element("td", { text: metric.value.toFixed(3) + interval }),
    element("td", { text: `${metric.data_set}, ${metric.split}, ${metric.count} ${metric.count_unit}` }));
}

function fact(name, value) {
  return value ? [element("dt", { text: name }), element("dd", { text: value })] : [];
}

export function modelSummary(model, showCard) {
  const open = button("Model card", () => showCard(model));
  open.setAttribute("aria-label", `Model card of ${model.title}`);
  return element("article", { className: "model" },
    element("h4", { text: model.title }),
    element("p", {}, readySign(model.ready), ` ${model.name} ${model.version}`),
    element("dl", {},
      fact("Says", model.labels.map(nameOf).join(", ")),
      fact("Network", model.architecture),
      fact("Runs", `${model.variant} on ${model.provider.replace("ExecutionProvider", "")}`),
      fact("Trained on", model.data_sets.join("; ")),
      fact("Licence", model.licence),
      fact("For", model.intended_use)),
    element("p", {}, open),
    model.metrics.length ? element("details", {}, element("summary", { text: `Measured (${model.metrics.length})` }),
      table(`Measures of ${model.title}`, ["Measure", "Value", "On"], model.metrics.map(measure))) : null,
    element("details", {}, element("summary", { text: "Weights" }),
      element("p", { className: "fine digest", text: `sha256 ${model.sha256}` })));
}
