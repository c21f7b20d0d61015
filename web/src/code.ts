// The request of the page as programs.
import { type Ask, files, head, length } from "./encode";

export const languages = ["curl", "Python", "Go"] as const;
export type Language = (typeof languages)[number];

export function code(ask: Ask, language: Language, origin: string, token: boolean): string {
  return { curl, Python: python, Go: go }[language](ask, origin, token);
}

const quoted = (s: string) => `'${s.replaceAll("'", `'\\''`)}'`;
const path = (ask: Ask) => `/v2/models/${encodeURIComponent(ask.model)}/infer`;

function curl(ask: Ask, origin: string, token: boolean): string {
  const auth = token ? ` \\\n  -H "Authorization: Bearer $MOSEL_TOKEN"` : "";
  if (!files(ask).length) return `curl ${origin}${path(ask)}${auth} \\\n  -d ${quoted(head(ask))}`;
  const lines = [`printf %s ${quoted(head(ask))} > body`];
  for (const f of files(ask)) {
    const octal = [...length(f.file.size)].map((b) => `\\${b.toString(8).padStart(3, "0")}`).join("");
    lines.push(`printf '${octal}' >> body          # ${f.file.size} bytes follow`, `cat ${quoted(f.fileName)} >> body`);
  }
  lines.push(`curl ${origin}${path(ask)}${auth} \\\n  -H 'Inference-Header-Content-Length: ${new TextEncoder().encode(head(ask)).length}' --data-binary @body`);
  return lines.join("\n");
}

function python(ask: Ask, origin: string, token: boolean): string {
  const binary = files(ask);
  const auth = token ? `headers["Authorization"] = "Bearer " + os.environ["MOSEL_TOKEN"]\n` : "";
  const parts = binary.map((f) => `data = open(${JSON.stringify(f.fileName)}, "rb").read()\nbody += struct.pack("<I", len(data)) + data\n`).join("");
  const length = binary.length ? `headers["Inference-Header-Content-Length"] = str(len(body))\n` : "";
  const json = JSON.stringify(JSON.parse(head(ask)), null, 4);
  return `import json${token ? ", os" : ""}${binary.length ? ", struct" : ""}
from urllib.request import Request, urlopen

request = ${json}
headers = {}
${auth}body = json.dumps(request).encode()
${length}${parts}answer = json.load(urlopen(Request("${origin}${path(ask)}", body, headers)))
print(answer["parameters"])
print(answer["outputs"][0]["data"])
`;
}

const goTypes: Record<string, string> = {
  BOOL: "bool", UINT8: "uint8", UINT16: "uint16", UINT32: "uint32", UINT64: "uint64",
  INT8: "int8", INT16: "int16", INT32: "int32", INT64: "int64", FP16: "float32", FP32: "float32", FP64: "float64",
};

function go(ask: Ask, origin: string, token: boolean): string {
  const make: string[] = [];
  const names: string[] = [];
  const imports = new Set(["context", "fmt", "log"]);
  ask.inputs.forEach((i, n) => {
    const name = `input${n}`;
    names.push(name);
    if (i.kind === "file") {
      imports.add("os");
      make.push(`	file${n}, err := os.ReadFile(${JSON.stringify(i.fileName)})\n	check(err)\n	${name}, err := tensor.Strings(${JSON.stringify(i.name)}, tensor.Shape{1}, []string{string(file${n})})\n	check(err)`);
    } else if (i.kind === "text") {
      make.push(`	${name}, err := tensor.Strings(${JSON.stringify(i.name)}, tensor.Shape{1}, []string{${JSON.stringify(i.text)}})\n	check(err)`);
    } else {
      const type = goTypes[i.datatype] ?? "float32";
      const values = i.datatype === "BOOL" ? i.data.map((v) => String(v !== 0)) : i.data;
      make.push(`	${name}, err := tensor.Of(${JSON.stringify(i.name)}, tensor.Shape{${i.shape.join(", ")}}, []${type}{${values.join(", ")}})\n	check(err)`);
    }
  });
  if (token) imports.add("os");
  if (ask.deadline > 0) imports.add("time");
  const objective = [ask.floor > 0 ? `\n		MinAccuracy: ${ask.floor},` : "", ask.deadline > 0 ? `\n		Deadline:    ${ask.deadline} * time.Millisecond,` : ""].join("");
  return `package main

import (
${[...imports].sort().map((i) => `	"${i}"`).join("\n")}

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/tensor"
)

func main() {
	c, err := client.New("${origin}", client.Options{${token ? `Token: os.Getenv("MOSEL_TOKEN")` : ""}})
	check(err)
	defer c.Close()
${make.join("\n")}
	answer, err := c.Infer(context.Background(), client.Request{
		Model:       ${JSON.stringify(ask.model)},
		Inputs:      []tensor.Tensor{${names.join(", ")}},${objective}
	})
	check(err)
	fmt.Println(answer.Variant, answer.ExpectedAccuracy, answer.Outputs)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
`;
}
