package features

import (
	"fmt"
	"strings"

	"k8s.io/component-base/featuregate"
)

// The gates. To add one, add it to All as well; docs/gates.md follows.
const (
	// ShadowComparison compares what is programmed with what kube-proxy has.
	ShadowComparison featuregate.Feature = "ShadowComparison"
	// ChainLayout programs a chain for each Service port and endpoint.
	ChainLayout featuregate.Feature = "ChainLayout"
	// ConnectionCounters counts new connections in the maps.
	ConnectionCounters featuregate.Feature = "ConnectionCounters"
)

// Gate is a feature as it is documented.
type Gate struct {
	Name featuregate.Feature
	Spec featuregate.FeatureSpec
	// Meaning is what it does when it is on, in one sentence.
	Meaning string
}

// All are the gates, in the order of their names.
func All() []Gate {
	return []Gate{
		{
			ChainLayout, featuregate.FeatureSpec{Default: false, PreRelease: featuregate.Alpha},
			"Programs a chain for each Service port and each endpoint, named as kube-proxy names them, in place of maps: to read, not to be fast.",
		},
		{
			ConnectionCounters, featuregate.FeatureSpec{Default: false, PreRelease: featuregate.Alpha},
			"Counts the new connections to each Service and each endpoint in the kernel, and shows them as metrics and in `kube-verdict explain`.",
		},
		{
			ShadowComparison, featuregate.FeatureSpec{Default: true, PreRelease: featuregate.Beta},
			"In the scope shadow, compares what is programmed with what kube-proxy has in this node's kernel, and shows each difference as metrics.",
		},
	}
}

// Gates are a set of gates that can be set.
type Gates = featuregate.MutableFeatureGate

// New makes a set of the gates, each at its default.
func New() Gates {
	gate := featuregate.NewFeatureGate()
	specs := map[featuregate.Feature]featuregate.FeatureSpec{}
	for _, g := range All() {
		specs[g.Name] = g.Spec
	}
	if err := gate.Add(specs); err != nil {
		panic(err) // two gates of one name
	}
	return gate
}

// Usage is the help of the flag that sets them.
func Usage() string {
	var b strings.Builder
	// The flag's help shows the first word in back quotes as its value.
	b.WriteString("switch features on or off, as in `NAME=true,NAME=false`:")
	for _, g := range All() {
		fmt.Fprintf(&b, "\n%s=true|false (%s - default=%t): %s", g.Name, Stage(g), g.Spec.Default, strings.ReplaceAll(g.Meaning, "`", `"`))
	}
	b.WriteString("\nAllAlpha=true|false, AllBeta=true|false: all of a stage that are not named")
	return b.String()
}

// Stage is how far a feature has come: ALPHA, BETA or GA.
func Stage(g Gate) string {
	if g.Spec.PreRelease == featuregate.GA {
		return "GA"
	}
	return string(g.Spec.PreRelease)
}

// Table is the gates as docs/gates.md lists them.
func Table() string {
	var b strings.Builder
	b.WriteString("| gate | stage | default | when it is on |\n|---|---|---|---|\n")
	for _, g := range All() {
		state := "off"
		if g.Spec.Default {
			state = "on"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", g.Name, strings.ToLower(Stage(g)), state, g.Meaning)
	}
	return b.String()
}
