package library

// Channel is where a library can be downloaded from.
type Channel string

// The channels, in the order in which they are tried: the official release is
// the smallest download and needs nothing but HTTPS; the wheel is a fifth of the
// npm package, which carries the libraries of all platforms.
const (
	Release Channel = "release" // the project's release on GitHub
	PyPI    Channel = "pypi"    // the wheel onnxruntime, through pip
	NPM     Channel = "npm"     // the package onnxruntime-node, through npm
)

const (
	releasePage  = "https://github.com/microsoft/onnxruntime/releases/tag/v" + Version
	releaseFiles = "https://github.com/microsoft/onnxruntime/releases/download/v" + Version
)

// pin is one archive of Version that holds the library for one platform. The
// builds of the three channels differ, so each has its own digest.
type pin struct {
	archive string // what it is called in the channel
	sha256  string // of the archive, in hexadecimal
	member  string // path of the library inside the archive
	wheel   string // pip's platform tag, PyPI only
}

// npmPin and the digests of the wheels are of archives that were downloaded,
// unpacked and loaded here (the darwin and arm64 ones: downloaded and unpacked).
// Those of the releases are the digests that GitHub publishes for the files, as
// a dozen independent projects pin them; the files themselves were not fetched.
const (
	npmArchive = "onnxruntime-node-" + Version + ".tgz"
	npmSHA256  = "6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75"
)

// pins has a row for each platform, "GOOS/GOARCH". ONNX Runtime stopped
// building for Intel Macs with 1.24.
var pins = map[string]map[Channel]pin{
	"linux/amd64": {
		Release: {
			archive: "onnxruntime-linux-x64-" + Version + ".tgz",
			sha256:  "a5ed5a3cac51fbb2e90da632ae43d19212faaa20e76484e62bcb7c23ddb3b3fd",
			member:  "onnxruntime-linux-x64-" + Version + "/lib/libonnxruntime.so." + Version,
		},
		PyPI: {
			archive: "onnxruntime-" + Version + "-cp312-cp312-manylinux_2_28_x86_64.whl",
			sha256:  "fa688e7891a6aa206636fe7372e27ee75fd17713289f6b4fc7b190e0a7de9328",
			member:  "onnxruntime/capi/libonnxruntime.so." + Version,
			wheel:   "manylinux_2_28_x86_64",
		},
		NPM: {archive: npmArchive, sha256: npmSHA256, member: "package/bin/napi-v6/linux/x64/libonnxruntime.so.1"},
	},
	"linux/arm64": {
		Release: {
			archive: "onnxruntime-linux-aarch64-" + Version + ".tgz",
			sha256:  "e16a27a8ed330bbc698df7330b0cf56e722f354e3bcc92118682c74ef3c3e3da",
			member:  "onnxruntime-linux-aarch64-" + Version + "/lib/libonnxruntime.so." + Version,
		},
		PyPI: {
			archive: "onnxruntime-" + Version + "-cp312-cp312-manylinux_2_28_aarch64.whl",
			sha256:  "6c32a000d5139a38ba9349030b0032e3331acb559d596b22738d9d2b343a2b83",
			member:  "onnxruntime/capi/libonnxruntime.so." + Version,
			wheel:   "manylinux_2_28_aarch64",
		},
		NPM: {archive: npmArchive, sha256: npmSHA256, member: "package/bin/napi-v6/linux/arm64/libonnxruntime.so.1"},
	},
	"darwin/arm64": {
		Release: {
			archive: "onnxruntime-osx-arm64-" + Version + ".tgz",
			sha256:  "6ebb5062a934537c352937821f9fe9718e7de1a2db1122a93dd363ffd53a7012",
			member:  "onnxruntime-osx-arm64-" + Version + "/lib/libonnxruntime." + Version + ".dylib",
		},
		PyPI: {
			archive: "onnxruntime-" + Version + "-cp312-cp312-macosx_14_0_arm64.whl",
			sha256:  "001ed726c9bd5e2bc92faade7d37d889e9606a350b7d5529f0227df2e3bb57fd",
			member:  "onnxruntime/capi/libonnxruntime." + Version + ".dylib",
			wheel:   "macosx_14_0_arm64",
		},
		NPM: {archive: npmArchive, sha256: npmSHA256, member: "package/bin/napi-v6/darwin/arm64/libonnxruntime." + Version + ".dylib"},
	},
}
