"""Writes prices.json from the table that the PyPI package `litellm` (MIT) ships.

    pip download --no-deps -d /tmp/litellm litellm && unzip -o /tmp/litellm/*.whl -d /tmp/litellm/x
    python3 schemas/data/extract_prices.py /tmp/litellm/x > schemas/data/prices.json
"""

import datetime
import glob
import json
import sys

MODES = {"chat", "completion", "responses", "embedding", "rerank"}
root = sys.argv[1]
table = json.load(open(f"{root}/litellm/model_prices_and_context_window_backup.json", encoding="utf-8"))
version = glob.glob(f"{root}/litellm-*.dist-info")[0].split("litellm-")[1].removesuffix(".dist-info")
models = {}
for name, entry in sorted(table.items()):
    if name == "sample_spec" or entry.get("mode") not in MODES:
        continue
    price_in, price_out = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if price_in is None or price_out is None or (price_in == 0 and price_out == 0) or len(name) > 128:
        continue
    models[name] = {"input": price_in, "output": price_out}
    if entry.get("cache_read_input_token_cost") is not None:
        models[name]["cached_input"] = entry["cache_read_input_token_cost"]
head = {
    "date": datetime.date.today().isoformat(),
    "source": f"model_prices_and_context_window of litellm {version} (MIT); US dollars per token, base tier",
}
print("{")
for key, value in head.items():
    print(f" {json.dumps(key)}: {json.dumps(value)},")
print(' "models": {')
print(",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in models.items()))
print(" }\n}")
