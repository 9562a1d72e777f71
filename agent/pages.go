package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/metrics"
	"github.com/kube-verdict/kube-verdict/plain"
)

// pages are served at the metrics address, in the form that the components of
// Kubernetes have (KEPs 4827 and 4828): the packages for it there belong to the API
// server and bring most of it along.
func pages(c Config, registry *prometheus.Registry, probes map[string]http.Handler, start time.Time) http.Handler {
	all := maps.Clone(probes)
	all["/metrics"] = metrics.Handler(registry)
	all["/configz"] = configz(c.Configuration)
	all["/flagz"] = flagz(c.Flags)
	all["/proxyMode"] = http.HandlerFunc(proxyMode)
	all["/statusz"] = nil // which is a path as well
	all["/statusz"] = statusz(c.Version, slices.Sorted(maps.Keys(all)), start)
	mux := http.NewServeMux()
	for path, handler := range all {
		mux.Handle(path, handler)
	}
	return mux
}

func configz(c config.Configuration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]config.Configuration{"kubeverdict.io": c})
	})
}

// proxyMode answers as kube-proxy does in the mode that is the same to others: what
// asks, asks what Services are programmed with.
func proxyMode(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprint(w, "nftables")
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text)
}

// page is what pages have when they are asked for JSON.
type page struct {
	Kind       string            `json:"kind"`
	APIVersion string            `json:"apiVersion"`
	Metadata   map[string]string `json:"metadata"`
}

func newPage(kind string) page {
	return page{kind, "config.k8s.io/v1beta1", map[string]string{"name": "kube-verdict"}}
}

func asJSON(request *http.Request) bool {
	return strings.Contains(request.Header.Get("Accept"), "application/json")
}

func writeText(w http.ResponseWriter, name string, lines []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprintf(plain.NewWriter(w), "\nkube-verdict %s\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\n%s\n", name, strings.Join(lines, "\n"))
}

func flagz(flags *pflag.FlagSet) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		values := map[string]string{}
		var lines []string
		if flags != nil {
			flags.VisitAll(func(f *pflag.Flag) {
				values[f.Name] = f.Value.String()
				lines = append(lines, f.Name+"="+f.Value.String())
			})
		}
		if asJSON(request) {
			writeJSON(w, struct {
				page
				Flags map[string]string `json:"flags"`
			}{newPage("Flagz"), values})
			return
		}
		writeText(w, "flagz", lines)
	})
}

func statusz(version string, paths []string, start time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		up := time.Since(start)
		if asJSON(request) {
			writeJSON(w, struct {
				page
				StartTime     time.Time `json:"startTime"`
				UptimeSeconds int64     `json:"uptimeSeconds"`
				GoVersion     string    `json:"goVersion"`
				BinaryVersion string    `json:"binaryVersion"`
				Paths         []string  `json:"paths"`
			}{newPage("Statusz"), start.UTC().Truncate(time.Second), int64(up.Seconds()), runtime.Version(), version, paths})
			return
		}
		writeText(w, "statusz", []string{
			"Started: " + start.Format(time.UnixDate), "Up: " + up.Round(time.Second).String(),
			"Go version: " + runtime.Version(), "Binary version: " + version, "Paths: " + strings.Join(paths, " "),
		})
	})
}
