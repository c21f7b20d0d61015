#!/usr/bin/env bash
# Builds the archives of a release into out/release: for each platform that this machine can build for, the program,
# its licence and documents; a list of the modules in it (CycloneDX); and the checksums of all.
#
#     tools/release/release.sh            of the tag at HEAD
#     VERSION=v0.0.0-test ...             of any commit, for a trial
set -euo pipefail
cd "$(dirname "$0")/../.."

go=${GO:-go}
out=out/release
platforms="linux/amd64 linux/arm64 darwin/amd64 darwin/arm64"

version=${VERSION:-$(git describe --tags --exact-match 2>/dev/null || true)}
if [ -z "$version" ]; then
	echo "release: HEAD has no tag; make one (git tag v0.1.0), or give VERSION for a trial" >&2
	exit 1
fi
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
	echo "release: the working tree has changes; commit them first" >&2
	exit 1
fi
# All times in the archives are those of the commit, so that the same commit gives the same bytes.
time=$(git show --no-patch --format=%ct HEAD)

# compiler prints the C compiler for a platform; nothing if there is none on this machine.
compiler() {
	local host
	host=$("$go" env GOHOSTOS)/$("$go" env GOHOSTARCH)
	case $1 in
	"$host") command -v "${CC:-cc}" ;;
	linux/amd64) command -v x86_64-linux-gnu-gcc ;;
	linux/arm64) command -v aarch64-linux-gnu-gcc ;;
	darwin/*) case $host in darwin/*) command -v "${CC:-cc}" ;; *) false ;; esac ;;
	esac
}

rm -rf "$out"
mkdir -p "$out"
made=0
for platform in $platforms; do
	os=${platform%/*} arch=${platform#*/}
	if ! cc=$(compiler "$platform"); then
		echo "release: $platform left out, there is no C compiler for it here"
		continue
	fi
	name=mosel-$version-$os-$arch
	folder=$out/$name
	mkdir "$folder"
	GOOS=$os GOARCH=$arch CGO_ENABLED=1 CC=$cc GOFLAGS="" "$go" build -trimpath -ldflags="-s -w -X main.releaseVersion=$version" -o "$folder/mosel" ./cmd/mosel
	cp LICENSE README.md CHANGELOG.md "$folder"
	bin/cyclonedx-gomod bin -json -noserial -version "$version" -output "$out/$name.cdx.json" "$folder/mosel" 2>/dev/null
	tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -C "$out" -cf - "$name" | gzip -n -9 >"$out/$name.tar.gz"
	rm -r "$folder"
	made=$((made + 1))
	echo "release: $name.tar.gz, $(wc -c <"$out/$name.tar.gz") bytes"
done
(cd "$out" && sha256sum -- *.tar.gz *.cdx.json >SHA256SUMS)
echo "release: $version, archives: $made, in $out"
