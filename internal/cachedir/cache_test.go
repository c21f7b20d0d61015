package cachedir_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mosel-serve/mosel/internal/cachedir"
)

func at(dir string, bytesMax int64) *cachedir.Cache {
	return cachedir.NewCache([]cachedir.Dir{cachedir.At(dir)}, bytesMax)
}

func TestWhatIsPutIsKept(t *testing.T) {
	c := at(filepath.Join(t.TempDir(), "not", "there"), 1<<20)
	key := cachedir.Key("digest", "a.onnx")
	if _, ok := c.Get(key); ok {
		t.Fatal("an empty cache has something")
	}
	if err := c.Put(key, []byte("graph")); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Get(key); !ok || string(got) != "graph" {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, other := range []string{cachedir.Key("digest", "b.onnx"), cachedir.Key("digesta", ".onnx"), cachedir.Key("digest", "a.onnx", "")} {
		if _, ok := c.Get(other); other == key || ok {
			t.Error("two things have one key")
		}
	}
}

func TestADamagedFileIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 1<<20)
	key := cachedir.Key("x")
	if err := c.Put(key, bytes.Repeat([]byte("graph"), 100)); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"empty": nil, "short": whole[:20], "cut": whole[:len(whole)-1], "changed": append(append([]byte{}, whole[:40]...), append([]byte{whole[40] ^ 1}, whole[41:]...)...)} {
		if err := os.WriteFile(files[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Get(key); ok {
			t.Errorf("%s: it is used", name)
		}
	}
	if err := c.Put(key, []byte("again")); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Get(key); !ok || string(got) != "again" {
		t.Errorf("after it was written again: %q, %v", got, ok)
	}
}

// TestNothingCanBeWritten puts the cache where a file is.
func TestNothingCanBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := at(filepath.Join(file, "cache"), 1<<20)
	if err := c.Put(cachedir.Key("x"), []byte("graph")); err == nil {
		t.Error("no error")
	}
	if _, ok := c.Get(cachedir.Key("x")); ok {
		t.Error("it has something")
	}
}

func TestTheOldestMakeRoom(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 1000)
	var keys []string
	for i := range 5 {
		key := cachedir.Key(string(rune('a' + i)))
		if err := c.Put(key, make([]byte, 300)); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		if err := os.Chtimes(filepath.Join(dir, key+".kept"), at, at); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if _, ok := c.Get(keys[1]); !ok { // now it is the youngest
				t.Fatal("it is gone")
			}
		}
	}
	var left []int
	for i, key := range keys {
		if _, ok := c.Get(key); ok {
			left = append(left, i)
		}
	}
	if len(left) != 3 || left[0] != 1 {
		t.Errorf("left: %v", left)
	}
	if err := c.Put(cachedir.Key("large"), make([]byte, 501)); err == nil {
		t.Error("something of more than half of the cache is kept")
	}
}
