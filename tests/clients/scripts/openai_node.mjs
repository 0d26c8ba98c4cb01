import OpenAI, { toFile } from "openai";
const client = new OpenAI({ baseURL: `${process.env.BASE_URL}/v1`, apiKey: "none", maxRetries: 0 });
const names = [];
for await (const model of client.models.list()) names.push(model.id);
if (!names.includes("demo")) throw new Error(`models: ${names}`);
const plain = await client.images.generate({ model: "gpt-image-1", prompt: "a red house", size: "64x64", n: 2 });
if (plain.data.length !== 2 || !plain.data[0].b64_json) throw new Error("generate");
const dalle = await client.images.generate({ model: "dall-e-3", prompt: "a red house", size: "64x64" });
const fetched = await fetch(dalle.data[0].url);
if (!fetched.ok || fetched.headers.get("content-type") !== "image/png") throw new Error("url");
const kinds = [];
const stream = await client.images.generate({
  model: "gpt-image-1", prompt: "a", size: "64x64", stream: true, partial_images: 2,
});
for await (const event of stream) kinds.push(event.type);
if (kinds.at(-1) !== "image_generation.completed") throw new Error(`stream: ${kinds}`);
const image = await toFile(Buffer.from(plain.data[0].b64_json, "base64"), "a.png", { type: "image/png" });
const edited = await client.images.edit({ model: "gpt-image-1", prompt: "a blue house", image });
if (!edited.data[0].b64_json) throw new Error("edit");
try {
  await client.images.generate({ model: "demo", prompt: "a", size: "huge" });
  throw new Error("no error");
} catch (error) {
  if (!(error instanceof OpenAI.BadRequestError)) throw error;
}
