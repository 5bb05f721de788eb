/** The image's pixels for drawing, with smaller copies so that zooming out costs little. */

import { request } from "../net/api.js";

const MOST_PIXELS = 64e6;

/** @returns {Promise<{levels: ImageBitmap[]}>} the largest first */
export async function loadPicture(image) {
  const response = await request("GET", image.picture);
  const blob = await response.blob();
  const as = { imageOrientation: "none", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const halved = image.width * image.height > MOST_PIXELS;
  const first = halved
    ? await createImageBitmap(blob, { ...as, resizeWidth: Math.round(image.width / 2) })
    : await createImageBitmap(blob, as);
  const levels = [first];
  while (levels[levels.length - 1].width > 1200) {
    const last = levels[levels.length - 1];
    const width = Math.round(last.width / 2);
    levels.push(await createImageBitmap(last, { resizeWidth: width, resizeQuality: "medium" }));
  }
  return { levels };
}

/** Give the memory of a picture back. */
export function closePicture(picture) {
  if (picture) for (const level of picture.levels) level.close();
}
