package client

import (
	"io"
	"testing"
)

func TestPayload(t *testing.T) {
	p := newPayload()
	p.bytes = append(p.bytes, "hello"...)
	first := p.reader()
	second, err := p.again()
	if err != nil {
		t.Fatal(err)
	}
	p.release()
	first.Close()
	first.Close() // lets go once
	if got := p.holders.Load(); got != 1 {
		t.Fatalf("%d holders, want 1: the second reader", got)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader reads")
	}
	if got, err := io.ReadAll(second); err != nil || string(got) != "hello" {
		t.Errorf("second reader: %q, %v", got, err)
	}
	second.Close()
	if got := p.holders.Load(); got != 0 {
		t.Errorf("%d holders, want none", got)
	}
}
