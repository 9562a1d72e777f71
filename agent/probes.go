package agent

import (
	"fmt"
	"net/http"
	"strings"
)

// check is one thing that a probe asks for. Its error is the reason.
type check struct {
	name string
	ask  func() error
}

// probe answers as the components of Kubernetes do: "ok", or each check with its
// reason, which ?verbose asks for as well.
func probe(name string, checks ...check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var b strings.Builder
		failed := false
		for _, c := range checks {
			if err := c.ask(); err != nil {
				failed = true
				fmt.Fprintf(&b, "[-]%s failed: %v\n", c.name, err)
			} else {
				fmt.Fprintf(&b, "[+]%s ok\n", c.name)
			}
		}
		_, verbose := request.URL.Query()["verbose"]
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case failed:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, "%s%s check failed\n", b.String(), name)
		case verbose:
			_, _ = fmt.Fprintf(w, "%s%s check passed\n", b.String(), name)
		default:
			_, _ = fmt.Fprint(w, "ok")
		}
	})
}
