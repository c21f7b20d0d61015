package library

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// libraryBytesMax bounds an unpacked library; the largest pinned one has 38 MB.
const libraryBytesMax = 512 << 20

// unpack writes one member of an archive (a wheel is a zip, every other one a
// compressed tar) to a file and returns its SHA-256.
func unpack(archive, member, file string) (digest string, err error) {
	find := findTar
	if strings.HasSuffix(archive, ".whl") {
		find = findZip
	}
	err = find(archive, member, func(content io.Reader) error {
		digest, err = writeLibrary(file, content)
		return err
	})
	if err == nil && digest == "" {
		err = errors.New("it is not in there")
	}
	if err != nil {
		return "", fmt.Errorf("unpack %s from %s: %w", member, path.Base(archive), err)
	}
	return digest, nil
}

func findZip(archive, member string, found func(io.Reader) error) error {
	files, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer files.Close()
	for _, f := range files.File {
		if f.Name != member {
			continue
		}
		content, err := f.Open()
		if err != nil {
			return err
		}
		defer content.Close()
		return found(content)
	}
	return nil
}

func findTar(archive, member string, found func(io.Reader) error) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	expanded, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for files := tar.NewReader(expanded); ; {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case path.Clean(header.Name) == member && header.Typeflag == tar.TypeReg:
			return found(files)
		}
	}
}

// writeLibrary syncs the library to disk, so that after the rename the file is never
// incomplete.
func writeLibrary(file string, content io.Reader) (digest string, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(content, libraryBytesMax+1))
	if err != nil {
		return "", err
	}
	if n > libraryBytesMax {
		return "", fmt.Errorf("it has more than %d bytes", libraryBytesMax)
	}
	return hex.EncodeToString(sum.Sum(nil)), f.Sync()
}
