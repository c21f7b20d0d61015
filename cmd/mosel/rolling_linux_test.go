package main

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // clients that ask for it choose servers by their health
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/mosel-serve/mosel/client"
	"github.com/mosel-serve/mosel/oip/inference"
)

// balancer sends requests to servers that say they are ready, one after the other,
// as load balancers do: it asks them every so often, and does not try a request again.
type balancer struct {
	servers []*httputil.ReverseProxy
	urls    []string
	ready   []atomic.Bool
	next    atomic.Uint64
}

const probeEvery = 50 * time.Millisecond

func newBalancer(t *testing.T, urls ...string) *balancer {
	b := &balancer{urls: urls, ready: make([]atomic.Bool, len(urls))}
	for _, u := range urls {
		target, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 32}
		b.servers = append(b.servers, proxy)
	}
	return b
}

// probe asks the servers until ctx ends.
func (b *balancer) probe(ctx context.Context) {
	c := http.Client{Timeout: time.Second}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		for i, u := range b.urls {
			r, err := c.Get(u + "/v2/health/ready")
			if err == nil {
				_ = r.Body.Close()
			}
			b.ready[i].Store(err == nil && r.StatusCode == http.StatusOK)
		}
		<-tick.C
	}
}

// ServeHTTP implements http.Handler.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first := b.next.Add(1)
	for k := range b.servers {
		i := (first + uint64(k)) % uint64(len(b.servers))
		if b.ready[i].Load() {
			b.servers[i].ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "no server is ready", http.StatusBadGateway)
}

// clients send requests one after the other until they are told to stop.
type clients struct {
	done, failed atomic.Int64
	first        sync.Once
	running      sync.WaitGroup
}

func (c *clients) send(ctx context.Context, t *testing.T, n int, ask func(context.Context) error) {
	for range n {
		c.running.Go(func() {
			for ctx.Err() == nil {
				if err := ask(context.WithoutCancel(ctx)); err != nil {
					c.failed.Add(1)
					c.first.Do(func() { t.Error(err) })
				}
				c.done.Add(1)
			}
		})
	}
}

// remoteClient makes a client over gRPC that chooses between servers.
func remoteClient(t *testing.T, servers []*process, choice string) inference.GRPCInferenceServiceClient {
	addresses := manual.NewBuilderWithScheme("servers")
	addresses.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: servers[0].grpc}, {Addr: servers[1].grpc}}})
	conn, err := grpc.NewClient("servers:///mosel", grpc.WithResolvers(addresses), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(choice),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: probeEvery, Multiplier: 1, MaxDelay: probeEvery}, MinConnectTimeout: busyTimeout}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return inference.NewGRPCInferenceServiceClient(conn)
}

// TestRollingRestart restarts two servers, one after the other, under requests over
// REST through a load balancer, and over gRPC by clients that follow the servers'
// health or keep one connection as long as it lasts: none fails.
func TestRollingRestart(t *testing.T) {
	flags := []string{"--drain-delay", "1s"}
	servers := []*process{launch(t, setting{models: loopModel, flags: flags}), launch(t, setting{models: loopModel, flags: flags})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBalancer(t, servers[0].rest, servers[1].rest)
	go b.probe(ctx)
	front := httptest.NewServer(b)
	defer front.Close()
	over, err := client.New(front.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	servers[0].until("both are ready", func() bool { return b.ready[0].Load() && b.ready[1].Load() })

	stub := remoteClient(t, servers, `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`)
	pinned := remoteClient(t, servers, `{"loadBalancingConfig": [{"pick_first": {}}]}`)
	message := &inference.ModelInferRequest{ModelName: "rounds",
		Inputs:           []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{1, 2}}},
		RawInputContents: [][]byte{binary.LittleEndian.AppendUint64(nil, uint64(math.Float32bits(100)))}}

	var rest, remote, keeping clients
	var answered sync.Map // by the server's address: when it last answered over gRPC
	rest.send(ctx, t, 6, func(ctx context.Context) error {
		_, err := over.Infer(ctx, number("rounds", 100))
		return err
	})
	remote.send(ctx, t, 6, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, busyTimeout)
		defer cancel()
		var server peer.Peer
		_, err := stub.ModelInfer(ctx, message, grpc.Peer(&server))
		if err == nil {
			answered.Store(server.Addr.String(), true)
		}
		return err
	})
	keeping.send(ctx, t, 2, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, busyTimeout)
		defer cancel()
		_, err := pinned.ModelInfer(ctx, message)
		return err
	})
	for i, p := range servers {
		before := rest.done.Load()
		p.signal(syscall.SIGTERM)
		if code := p.end(); code != 0 {
			t.Errorf("exit status %d: %s", code, p.log.String())
		}
		again := append([]string{"--addr", strings.TrimPrefix(p.rest, "http://"), "--grpc-addr", p.grpc}, flags...)
		servers[i] = launch(t, setting{models: loopModel, flags: again})
		answered.Delete(p.grpc)
		servers[i].until("it answers again", func() bool {
			_, again := answered.Load(p.grpc)
			return again && b.ready[i].Load() && rest.done.Load() > before+100
		})
	}
	cancel()
	for who, c := range map[string]*clients{"REST": &rest, "gRPC by health": &remote, "gRPC on one connection": &keeping} {
		c.running.Wait()
		t.Logf("%s: %d requests, %d failed", who, c.done.Load(), c.failed.Load())
		if c.done.Load() < 200 || c.failed.Load() > 0 {
			t.Errorf("%s: requests failed, or too few were sent", who)
		}
	}
	servers[0].stops()
	servers[1].stops()
}
