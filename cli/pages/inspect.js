// The page of inspect --html: a checkpoint by dtype, layer, family and file.
function facts() {
  main.append(element("h1", {}, data.architecture || (data.kind === "megatron" ? "Megatron checkpoint" : "Hugging Face folder")),
              element("p", {}, element("code", {}, data.path)));
  const cards = [card("tensors", number(data.tensor_count)), card("size", bytes(data.bytes))];
  if (data.kind === "megatron") {
    cards.push(card("data files", number(data.data_files)), card("sidecar", data.sidecar ? "present" : "absent"),
               card("run_config.yaml", data.run_config ? "present" : "absent"));
    if (data.iteration) cards.push(card("iteration", data.iteration));
  } else {
    cards.push(card("shards", number(data.shards)), card("side files", number(data.side_files.length)));
  }
  main.append(element("div", {class: "cards"}, ...cards));
}

function sums(title, rows) {
  if (rows.length === 0) return;
  section(title, bars(rows.map((row) => ({name: row.name, value: row.bytes, text: row.tensors === undefined ? bytes(row.bytes) : `${bytes(row.bytes)}, ${number(row.tensors)} tensors`}))));
}

facts();
sums("Bytes by dtype", Object.entries(data.dtypes).map(([name, row]) => ({name, ...row})));
sums("Bytes by layer", data.layers.map((row) => ({...row, name: row.name || "outside layers"})));
section("Families", table(["name", "tensors", "dtype", "shape", "bytes"],
    data.families.map((row) => [row.name, row.tensors, row.dtype, `[${row.shape.join(", ")}]`, bytes(row.bytes)])));
sums("Files", data.files || []);
