import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { experimental_generateImage, generateImage } from "ai";
const generate = generateImage ?? experimental_generateImage;
const baseURL = `${process.env.BASE_URL}/v1`;
const own = createOpenAI({ baseURL, apiKey: "none" });
const other = createOpenAICompatible({ name: "studio", baseURL });
for (const model of [own.image("gpt-image-1"), own.image("dall-e-3"), other.imageModel("demo")]) {
  const { image } = await generate({ model, prompt: "a red house", size: "64x64", maxRetries: 0 });
  if (image.uint8Array.length < 100 || image.mediaType !== "image/png") throw new Error(`${model.modelId}`);
}
