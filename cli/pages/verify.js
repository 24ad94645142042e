// The page of verify --html, made of its report (docs/verification.md lists the keys). Sections of
// what was not compared are left out.
const logits = data.logits || {};
const verdict = (equal) => (equal ? "equal" : "different");

function head() {
  const equal = data.exit_status === 0;
  const good = data.converted ? "The checkpoints are equal" : "One training step";
  const bad = data.converted ? "The checkpoints differ" : "The training step differs from itself, computed in another way";
  main.append(element("h1", {class: equal ? "good" : "bad"}, equal ? good : data.exit_status === 1 ? bad : "The comparison did not end"));
  const one = (name, path) => path && element("p", {}, element("span", {class: "faint"}, `${name} `), element("code", {}, path));
  main.append(...[one("source", data.source), one("converted", data.converted)].filter(Boolean));
  const partial = logits.partial;
  const facts = [`mode ${data.mode || "hash"}`];
  if (logits.tokens) facts.push(`${logits.prompts} x ${logits.tokens} tokens (${logits.prompt}), ${logits.compute} on ${logits.device}`);
  if (partial) facts.push(`PARTIAL: layers ${partial.first_layer} to ${partial.end_layer - 1}`);
  if (logits.parts || data.parts) facts.push("text model only");
  main.append(element("p", {class: "faint"}, facts.join("; ")));
  const cards = [];
  for (const way of ["forward", "inverse"]) {
    const bytesOf = data[way];
    if (!bytesOf) continue;
    const what = data.dry_run ? "matched" : bytesOf.different ? `${bytesOf.different} differ` : "identical";
    cards.push(card(way === "forward" ? "bytes, source to Megatron" : "bytes, and back", what,
                    !bytesOf.different, `${number(bytesOf.tensors)} tensors, ${bytes(bytesOf.bytes)}`));
  }
  const settings = logits.configuration;
  if (settings) cards.push(card("configuration", verdict(settings.equal), settings.equal,
                                settings.differences.length ? `${settings.differences.length} fields` : ""));
  const tensors = logits.tensors;
  if (tensors) cards.push(card("tensors", verdict(tensors.equal), tensors.equal,
                               `${tensors.differences.length} of ${number(tensors.compared)} differ`));
  const forward = logits.forward;
  if (forward) cards.push(card("forward pass", forward.identical ? "bit for bit" : verdict(forward.equal), forward.equal,
                               forward.not_comparable || `${forward.states.length} states`));
  for (const one of logits.reference || []) cards.push(card("recorded logits", one.equal ? "met" : "differ", one.equal, one.checkpoint));
  const step = data.train_step;
  if (step) cards.push(card("training step", verdict(step.equal), step.equal, `${step.gradients.tensors} gradients`));
  main.append(element("div", {class: "cards"}, ...cards));
}

function configuration() {
  const found = logits.configuration;
  if (!found) return;
  const rows = found.differences.concat(found.known || []);
  section("Configuration", rows.length === 0 ? element("p", {class: "good"}, "Every field is equal.") :
      table(["field", "first", "second"], rows.map((row) => [row.field, row.a || "nothing", row.b || "nothing"])));
}

// The differences of states, one point a layer, on a scale of powers of ten; what is equal lies on the floor.
function curve(states) {
  const power = (value) => (value > 0 ? Math.log10(value) : null);
  const powers = states.flatMap((state) => [power(state.max), power(state.allowed)]).filter((value) => value !== null);
  if (powers.length === 0) return element("p", {class: "good"}, `All ${states.length} states are equal, bit for bit.`);
  const top = Math.ceil(Math.max(...powers)) + 1;
  const floor = Math.min(Math.floor(Math.min(...powers)) - 1, top - 3);
  const x = (i) => 55 + 735 * (states.length === 1 ? 0.5 : i / (states.length - 1));
  const y = (value) => 10 + 230 * (top - (value === null ? floor : value)) / (top - floor);
  const drawing = element("svg", {viewBox: "0 0 800 270", role: "img"});
  const step = Math.ceil((top - floor) / 8);
  for (let at = floor; at <= top; at += step) {
    drawing.append(element("line", {class: "grid", x1: 50, x2: 795, y1: y(at), y2: y(at)}),
                   element("text", {x: 45, y: y(at) + 4, "text-anchor": "end"}, at === floor ? "0" : `1e${at}`));
  }
  const shown = (state) => (state.max === null ? top : power(state.max));
  const line = (name, value) => element("polyline", {class: name, points: states.map((state, i) => `${x(i)},${y(value(state))}`).join(" ")});
  drawing.append(line("allowed", (state) => power(state.allowed)), line("curve", shown));
  states.forEach((state, i) => {
    const good = state.identical || (state.allowed > 0 && state.judged !== null && state.judged <= state.allowed);
    drawing.append(element("circle", {class: good ? "point" : "point bad", cx: x(i), cy: y(shown(state)), r: 3},
        element("title", {}, `${state.name}: ${number(state.max)} at most, ${number(state.mean)} on average, ${number(state.allowed)} allowed`)));
  });
  drawing.append(element("text", {x: 55, y: 262}, states[0].name),
                 element("text", {x: 790, y: 262, "text-anchor": "end"}, states[states.length - 1].name));
  return element("div", {class: "wide"}, drawing);
}

function forwardPass() {
  const forward = logits.forward;
  if (!forward || forward.not_comparable) return;
  section("Largest difference after each layer", curve(forward.states));
  const first = forward.first_diverging;
  if (first) {
    section("First divergence", element("p", {}, "The states differ from ", element("code", {}, first.state), " on."),
            first.tensors.length ? table(["tensors of that layer that differ"], first.tensors.map((name) => [name])) :
            element("p", {}, "No tensor of that layer differs: the two compute something else with the same weights."));
  }
  if (forward.heads.length) {
    section("Heads", table(["head", "largest", "mean", "allowed", "KL (nats)", "top-1", "top-5"],
        forward.heads.map((row) => [row.name, row.max, row.mean, row.allowed, row.kl, `${row.top1}/${row.rows}`, `${row.top5}/${row.rows}`])));
  }
}

function tensorDifferences() {
  const found = logits.tensors;
  const listed = (found ? found.differences.concat(found.rounded) : []).concat(data.differences || []);
  if (found) {
    // A bar for each power of ten of the largest difference of a tensor.
    const decades = new Map();
    for (const one of found.differences.concat(found.rounded)) {
      const decade = one.largest > 0 ? Math.floor(Math.log10(one.largest)) : null;
      decades.set(decade, (decades.get(decade) || 0) + 1);
    }
    const rows = [{name: "equal", value: found.compared - found.differences.length - found.rounded.length}];
    for (const decade of [...decades.keys()].sort((a, b) => (a === null) - (b === null) || a - b)) {
      rows.push({name: decade === null ? "shape, missing or not finite" : `1e${decade} to 1e${decade + 1}`, value: decades.get(decade), bad: true});
    }
    section("Tensors by their largest difference", bars(rows.map((row) => ({...row, text: number(row.value)}))));
  }
  if (found && found.permutations.length) section("Permutations", ...found.permutations.map((text) => element("p", {}, text)));
  if (listed.length) section("Tensors that differ", table(["tensor", "what"], listed.map((row) => [row.name, row.what])));
}

function coverage() {
  const found = (logits.forward || {}).coverage;
  if (!found) return;
  const rows = [{name: "embedding rows", value: found.embedding_rows, whole: found.vocabulary}]
      .concat(found.experts.map((row) => ({name: `experts of ${row.layer}`, value: row.routed, whole: row.experts})));
  const share = rows.map((row) => ({...row, value: row.value / row.whole, whole: 1, text: `${number(row.value)} of ${number(row.whole)}`}));
  section("What the prompt used", element("p", {class: "faint"}, "Weights beyond are covered by the comparison of tensors."), bars(share));
}

function trainingStep() {
  const step = data.train_step;
  if (!step) return;
  const losses = [["main", step.main]].concat(step.mtp.map((loss, depth) => [`mtp.${depth}`, loss]));
  section("Losses of the training step", table(["head", "loss", "sum", "count"], losses.map(([name, loss]) => [name, loss.loss, loss.sum, loss.count])));
  const without = step.gradients.without_gradient;
  if (without.length) section("Without gradient", table(["tensor", "reason"], without.map((row) => [row.name, row.reason])));
}

head();
configuration();
forwardPass();
tensorDifferences();
coverage();
trainingStep();
