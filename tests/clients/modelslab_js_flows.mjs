// The calls of the official npm client, in its shape: the key both in the body and as a bearer
// token, the fetch by path, ten tries. `BASE_URL KEY PHOTO MASK`, the images as base64.
// Prints a JSON object: flow -> [first answer, last answer].

import { readFileSync } from "node:fs";

const [baseUrl, key, photo, mask] = process.argv.slice(2);
const TRIES = 10;
const SECONDS = 2;
const schema = {
  key, model_id: "demo", prompt: "a red circle", width: 64, height: 64, samples: 1,
  num_inference_steps: 20, strength: 0.7, guidance_scale: 7.5, safety_checker: "no", seed: 7,
};
const init_image = readFileSync(photo, "utf8");
const mask_image = readFileSync(mask, "utf8");

async function post(url, body) {
  const headers = {
    Authorization: `Bearer ${key}`,
    "Content-Type": "application/json",
    "X-Requested-With": "modelslab-js",
  };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function flow(room, call, fields) {
  const first = await post(`${baseUrl}/api/${room}/${call}`, { ...schema, ...fields });
  let last = first;
  for (let i = 0; i < TRIES && last.status !== "success"; i++) {
    await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
    last = await post(`${baseUrl}/api/${room}/fetch/${first.id}`, { key });
  }
  return [first, last];
}

const answers = {};
const calls = { text2img: {}, img2img: { init_image }, inpaint: { init_image, mask_image } };
const flows = ["v6/images", "v6/realtime", "v1/enterprise/images"].flatMap((room) =>
  Object.entries(calls).map(async ([call, fields]) => {
    answers[`${room} ${call}`] = await flow(room, call, fields);
  }),
);
await Promise.all(flows);
console.log(JSON.stringify(answers));
