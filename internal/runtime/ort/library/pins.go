package library

// Channel is where a library can be downloaded from.
type Channel string

// The channels, in order of preference. The official release is the smallest download
// and needs only HTTPS. The wheel has a fifth of the size of the npm package, which has
// the libraries of all platforms.
const (
	Release Channel = "release" // the project's release on GitHub
	PyPI    Channel = "pypi"    // the wheel onnxruntime, through pip
	NPM     Channel = "npm"     // the package onnxruntime-node, through npm
)

const (
	releasePage  = "https://github.com/microsoft/onnxruntime/releases/tag/v" + Version
	releaseFiles = "https://github.com/microsoft/onnxruntime/releases/download/v" + Version
)

// pin is one archive of Version that has the library for one platform. The builds of
// the three channels differ, so each has its own digest.
type pin struct {
	archive string // file name in the channel
	sha256  string // of the archive, in hexadecimal
	member  string // path of the library inside the archive
	wheel   string // pip's platform tag, PyPI only
}

// The digests of the npm package and of the wheels were computed from archives that
// were downloaded from the registries (TestFetch repeats this, with -fetch). Those of
// the releases were not: they are the digests that GitHub publishes, taken from several
// independent projects that pin the same files and agree. As a check, the library that
// one of these projects lists for linux/arm64 is byte for byte the one in the npm
// package.
const (
	npmArchive = "onnxruntime-node-" + Version + ".tgz"
	npmSHA256  = "874e97b8840c16db3a3997a4cc75976ee46fb4828bc95dda909d8d4e134bed02"
)

// pins has a row for each platform, "GOOS/GOARCH". ONNX Runtime has no builds for Intel
// Macs since 1.24.
var pins = map[string]map[Channel]pin{
	"linux/amd64": {
		Release: {
			archive: "onnxruntime-linux-x64-" + Version + ".tgz",
			sha256:  "1254da24fb389cf39dc0ff3451ab48301740ffbfcbaf646849df92f80ee92c57",
			member:  "onnxruntime-linux-x64-" + Version + "/lib/libonnxruntime.so." + Version,
		},
		PyPI: {
			archive: "onnxruntime-" + Version + "-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
			sha256:  "9b6dd70599005bd1bf29779f04a91978b92b5e719c11a20068a8f8e535f725b6",
			member:  "onnxruntime/capi/libonnxruntime.so." + Version,
			wheel:   "manylinux_2_28_x86_64",
		},
		NPM: {archive: npmArchive, sha256: npmSHA256, member: "package/bin/napi-v6/linux/x64/libonnxruntime.so.1"},
	},
	"linux/arm64": {
		Release: {
			archive: "onnxruntime-linux-aarch64-" + Version + ".tgz",
			sha256:  "34ff1c2d0f12e2cf3d33a0c5f82e39792e1d581fbd6968fd7c30d173654be01a",
			member:  "onnxruntime-linux-aarch64-" + Version + "/lib/libonnxruntime.so." + Version,
		},
		PyPI: {
			archive: "onnxruntime-" + Version + "-cp312-cp312-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
			sha256:  "91f2bb870a4b9224eba0a6728c1fa7a9e552b8e59e1083c51fbbc3d013f2b5c0",
			member:  "onnxruntime/capi/libonnxruntime.so." + Version,
			wheel:   "manylinux_2_28_aarch64",
		},
		NPM: {archive: npmArchive, sha256: npmSHA256, member: "package/bin/napi-v6/linux/arm64/libonnxruntime.so.1"},
	},
	"darwin/arm64": {
		Release: {
			archive: "onnxruntime-osx-arm64-" + Version + ".tgz",
			sha256:  "7a1280bbb1701ea514f71828765237e7896e0f2e1cd332f1f70dbd5c3e33aca3",
			member:  "onnxruntime-osx-arm64-" + Version + "/lib/libonnxruntime." + Version + ".dylib",
		},
		PyPI: {
			archive: "onnxruntime-" + Version + "-cp312-cp312-macosx_14_0_arm64.whl",
			sha256:  "05b028781b322ad74b57ce5b50aa5280bb1fe96ceec334628ade681e0b24c1ac",
			member:  "onnxruntime/capi/libonnxruntime." + Version + ".dylib",
			wheel:   "macosx_14_0_arm64",
		},
		NPM: {archive: npmArchive, sha256: npmSHA256, member: "package/bin/napi-v6/darwin/arm64/libonnxruntime." + Version + ".dylib"},
	},
}
