// Optimises the modules `*.wasm` of a folder in place with binaryen, the library of wasm-opt.
//
// One process for all: `wasm-opt` is a script too, whose start takes longer than a small module.
//
// node optimise.mjs <binaryen's index.js> <folder>

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [library, folder] = process.argv.slice(2);
const { default: binaryen } = await import(pathToFileURL(library));

// `-Os`: the smallest module after compression; `-Oz` minimises it before compression.
binaryen.setOptimizeLevel(2);
binaryen.setShrinkLevel(1);
// The first kilobyte of memory is the end of the stack and contains no data.
binaryen.setLowMemoryUnused(true);
binaryen.setDebugInfo(false);

// WebAssembly features of all current browsers. With all features enabled, binaryen writes modules that Chromium rejects.
const { BulkMemory, BulkMemoryOpt, CallIndirectOverlong, Multivalue, MutableGlobals, NontrappingFPToInt, ReferenceTypes, SignExt } =
  binaryen.Features;
const features =
  BulkMemory | BulkMemoryOpt | CallIndirectOverlong | Multivalue | MutableGlobals | NontrappingFPToInt | ReferenceTypes | SignExt;

for (const file of readdirSync(folder)) {
  const path = join(folder, file);
  const module = binaryen.readBinary(readFileSync(path));
  module.setFeatures(features);
  module.optimize();
  module.runPasses(["reorder-functions", "strip-debug", "strip-producers", "strip-target-features"]);
  writeFileSync(path, module.emitBinary());
  module.dispose();
}
