// Attaches a file to an image with @sigstore/oci, signed in by what docker's config.json has for the registry, and prints
// the descriptor of what it pushed: node attach.mjs HOST/REPOSITORY DIGEST FILE MEDIA_TYPE
import { readFileSync } from "node:fs";
import { attachArtifactToImage, getRegistryCredentials } from "@sigstore/oci";

const [imageName, imageDigest, file, mediaType] = process.argv.slice(2);
const descriptor = await attachArtifactToImage({
  imageName,
  imageDigest,
  artifact: readFileSync(file),
  mediaType,
  credentials: getRegistryCredentials(imageName),
});
console.log(JSON.stringify(descriptor));
