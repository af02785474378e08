// Writes to etcd as many clients do at once, and prints how long each write took: for comparison with a server that keeps
// objects itself.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	endpoint := flag.String("endpoint", "", "client URL of etcd")
	authority := flag.String("cacert", "", "certificates to trust")
	certificate := flag.String("cert", "", "our certificate")
	key := flag.String("key", "", "its key")
	prefix := flag.String("prefix", "/load/", "what all keys begin with")
	clients := flag.Int("clients", 64, "clients that write at once, each by its own connection")
	writes := flag.Int64("writes", 10000, "writes of all of them")
	bytes := flag.Int("bytes", 1000, "length of each value")
	flag.Parse()
	info := transport.TLSInfo{TrustedCAFile: *authority, CertFile: *certificate, KeyFile: *key}
	tls, err := info.ClientConfig()
	fail(err)
	all := make([]*clientv3.Client, *clients)
	for i := range all {
		all[i], err = clientv3.New(clientv3.Config{Endpoints: []string{*endpoint}, TLS: tls, DialTimeout: 10 * time.Second})
		fail(err)
		_, err = all[i].Get(context.Background(), *prefix)
		fail(err)
	}
	value := strings.Repeat("x", *bytes)
	took := make([][]float64, *clients)
	var next atomic.Int64
	var waiting sync.WaitGroup
	begun := time.Now()
	for i, client := range all {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			for {
				at := next.Add(1)
				if at > *writes {
					return
				}
				asked := time.Now()
				_, err := client.Put(context.Background(), fmt.Sprintf("%s%d", *prefix, at), value)
				fail(err)
				took[i] = append(took[i], float64(time.Since(asked).Microseconds())/1000)
			}
		}()
	}
	waiting.Wait()
	seconds := time.Since(begun).Seconds()
	var each []float64
	for _, some := range took {
		each = append(each, some...)
	}
	sort.Float64s(each)
	quantile := func(share float64) float64 { return each[int(share*float64(len(each)-1))] }
	fail(json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"rate": float64(len(each)) / seconds, "p50": quantile(0.5), "p99": quantile(0.99),
	}))
}

func fail(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
