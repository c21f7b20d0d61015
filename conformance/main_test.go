package conformance_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	flagAddr   = flag.String("addr", "", "REST address of the server to test, http://host:port (empty: mosel, started in this process)")
	flagGRPC   = flag.String("grpc", "", "gRPC address of the server to test, host:port (empty with -addr: gRPC is not tested)")
	flagModels = flag.String("model", "", "models to test with, comma separated (empty: the first that the server lists)")
	flagAdmin  = flag.Bool("admin", false, "also unload and load the models; with our own server always")
	flagStrict = flag.Bool("strict", false, "demand mosel's reading where the protocol leaves a choice; of a server that says it is mosel always")
	flagExtend = flag.String("extensions", "", "extensions that the server has and its metadata does not list, comma separated")
	flagBody   = flag.Int64("body-max", 0, "the server's bound on a request's body, in bytes (0: unknown, bounds are not tested)")
)

// connectTimeout is how long a server may take to say what it serves.
const connectTimeout = 20 * time.Second

// subject is the server under test.
var subject *target

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	at := address{rest: *flagAddr, grpc: *flagGRPC, admin: *flagAdmin, strict: *flagStrict, bodyMax: *flagBody}
	if *flagExtend != "" {
		at.extensions = strings.Split(*flagExtend, ",")
	}
	if *flagModels != "" {
		at.models = strings.Split(*flagModels, ",")
	}
	if at.rest == "" {
		own, err := startOwn()
		if err != nil {
			return 1, err
		}
		defer own.stop()
		at = own.address
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	if subject, err = connect(ctx, at); err != nil {
		return 1, err
	}
	defer subject.close()
	fmt.Println("conformance:", subject)
	return m.Run(), nil
}
