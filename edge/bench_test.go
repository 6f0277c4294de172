package edge_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkProxy compares, in the same run, the edge with no proxy at all and
// with a bare ReverseProxy: the ratios mean something, the numbers alone do
// not. The body has 1 KB.
func BenchmarkProxy(b *testing.B) {
	r := start(b, nil)
	body := strings.Repeat("x", 1024)
	up, srv := r.backend("a", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, body) // the client counts
	})
	r.put(route(up, 1, 1))
	path := strings.TrimPrefix(up, "unix:")

	bare := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: "upstream"}) },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
			DisableCompression: true, MaxIdleConnsPerHost: 256,
		},
	}}
	direct := &http.Server{Handler: srv.Config.Handler}
	addrs := []string{listenFor(b, direct), listenFor(b, bare), r.addr}
	rounds := make([][]float64, len(addrs)) // requests a second
	for b.Loop() {
		for i, addr := range addrs { // interleaved: other work on the machine meets all three
			rounds[i] = append(rounds[i], burst(b, addr))
		}
	}
	var median [3]float64
	for i, v := range rounds {
		slices.Sort(v)
		median[i] = v[len(v)/2]
	}
	b.ReportMetric(median[0], "direct-req/s")
	b.ReportMetric(median[1], "bare-req/s")
	b.ReportMetric(median[2], "edge-req/s")
	b.ReportMetric(median[2]/median[1], "edge/bare")
	b.ReportMetric(median[2]/median[0], "edge/direct")
	b.ReportMetric(0, "ns/op") // a round means nothing by itself
}

// burst sends 2,000 requests over 16 connections and gives requests a second.
func burst(b *testing.B, addr string) float64 {
	b.Helper()
	const workers, each = 16, 125
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, DisableCompression: true}}
	defer client.CloseIdleConnections()
	from := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				req, err := http.NewRequest("GET", "http://"+addr+"/", nil)
				if err != nil {
					b.Error(err)
					return
				}
				req.Host = "live.rms.localhost"
				resp, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close() // read to the end
				if err != nil || n != 1024 || resp.StatusCode != 200 {
					b.Errorf("%s %d %v", resp.Status, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return workers * each / time.Since(from).Seconds()
}

func listenFor(b *testing.B, s *http.Server) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		<-done
		if p, ok := s.Handler.(*httputil.ReverseProxy); ok {
			p.Transport.(*http.Transport).CloseIdleConnections()
		}
	})
	return l.Addr().String()
}
