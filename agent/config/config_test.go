package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/kube-verdict/kube-verdict/agent/config"
	"github.com/kube-verdict/kube-verdict/proxy"
)

const header = "apiVersion: kubeverdict.io/v1alpha1\nkind: KubeVerdictConfiguration\n"

func TestDefaultsAreValid(t *testing.T) {
	c := config.Default()
	if wrong := c.Validate(); len(wrong) > 0 {
		t.Error(wrong)
	}
	text, err := config.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"[primary, 10.0.0.7/8, 010.0.0.0/8, localhost, all]", "[]"} {
		if c, err := config.Decode([]byte(header + "nodePortAddresses: " + list)); err != nil || len(c.Validate()) > 0 {
			t.Errorf("nodePortAddresses: %s: %v, %v", list, err, c.Validate())
		}
	}
	for what, text := range map[string]string{"written and read": string(text), "that says nothing": header} {
		if got, err := config.Decode([]byte(text)); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("a file %s is %+v, %v", what, got, err)
		}
	}
}

// What is wrong is named, with what to write instead.
func TestWhatIsWrongIsNamed(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"kind: KubeVerdictConfiguration", `apiVersion "", kind "KubeVerdictConfiguration": write apiVersion: kubeverdict.io/v1alpha1`},
		{"apiVersion: v2\nkind: KubeVerdictConfiguration", `apiVersion "v2"`},
		{header + "scop: all", `unknown field "scop"`},
		{header + "Scope: all", `unknown field "Scope"`},
		{header + "conntrack: {mx: 1}", `unknown field "conntrack.mx"`},
		{header + "scope: all\nscope: shadow", `"scope" already set`},
		{header + "masqueradeBit: twelve", `masqueradeBit of type int`},
		{header + "a: [", "not YAML"},
		{header + "scope: some", `scope: Unsupported value: "some": supported values: "shadow", "labelled", "all"`},
		{header + "shadowPeriod: 10ms", `shadowPeriod: Invalid value: "10ms": must be a second or more`},
		{header + "featureGates: {NoSuchGate: true}", "featureGates: Invalid value"},
		{header + "detectLocal: {podCIDRs: [10.0.0.0/8, 10.254.0.0]}", `detectLocal.podCIDRs[1]: Invalid value: "10.254.0.0": must be a CIDR such as 10.244.0.0/16`},
		{header + "detectLocal: {podCIDRs: [10.254.3.0/16]}", `detectLocal.podCIDRs[0]: Invalid value: "10.254.3.0/16": not the first address of a network: write 10.254.0.0/16`},
		{header + "detectLocal: {podCIDRs: [node, 10.254.3.0/16]}", `detectLocal.podCIDRs[0]: Invalid value: "node": stands alone`},
		{header + `detectLocal: {podInterface: "*"}`, "detectLocal.podInterface"},
		{header + "nodePortAddresses: [somewhere]", `nodePortAddresses[0]: Invalid value: "somewhere": must be a CIDR such as 192.168.0.0/16, or one of primary, all and localhost`},
		{header + "nodePortAddresses: ['']", `nodePortAddresses[0]: Invalid value: "": must be a CIDR`},
		{header + "nodePortAddresses: [primary, 10.0.0.0/8, primary]", `nodePortAddresses[2]: Duplicate value: "primary"`},
		{header + "masqueradeBit: 32", "masqueradeBit: Invalid value: 32: a packet mark has the bits 0 to 31"},
		{header + `metricsBindAddress: localhost:10349`, `metricsBindAddress: Invalid value: "localhost:10349": must be an IP address and a port`},
		{header + `metricsBindAddress: ":10356"`, "healthzBindAddress: Invalid value"},
		{header + "clientConnection: {qps: -1}", "clientConnection.qps: Invalid value: -1: must not be negative"},
		{header + "logging: {format: xml}", `logging.format: Unsupported value: "xml"`},
		{header + "conntrack: {udpTimeout: 1500ms}", "conntrack.udpTimeout: Invalid value: \"1.5s\": must be whole seconds"},
		{header + "conntrack: {tcpEstablishedTimeout: 1d}", `unknown unit "d"`},
		{header + "conntrack: {maxPerCore: -1}", "conntrack.maxPerCore: Invalid value: -1"},
	} {
		c, err := config.Decode([]byte(tc.text))
		if err == nil {
			err = config.Explain(c.Validate(), pflag.NewFlagSet("", pflag.ContinueOnError))
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\ngives %v, want %s", strings.TrimPrefix(tc.text, header), err, tc.want)
		}
	}
}

// All that is wrong is told at once.
func TestAllIsTold(t *testing.T) {
	c, err := config.Decode([]byte(header + "scope: some\nmasqueradeBit: 40\nconntrack: {min: -1}"))
	if err != nil {
		t.Fatal(err)
	}
	if wrong := c.Validate(); len(wrong) != 3 {
		t.Errorf("of three mistakes these are told: %v", wrong)
	}
}

// Flags that are given override the file; a mistake in one is told by its name.
func TestFlagsOverrideTheFile(t *testing.T) {
	c, err := config.Decode([]byte(header + "scope: labelled\nmasqueradeAll: true\nmasqueradeBit: 5\nfeatureGates: {ChainLayout: true, ConnectionCounters: true}"))
	if err != nil {
		t.Fatal(err)
	}
	given := config.Default()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.StringVar((*string)(&given.Scope), "scope", "all", "")
	flags.IntVar(&given.MasqueradeBit, "masquerade-bit", 12, "")
	flags.StringSliceVar(&given.DetectLocal.PodCIDRs, "pod-cidrs", nil, "")
	flags.StringToString("feature-gates", nil, "")
	if err := flags.Parse([]string{"--masquerade-bit=12", "--pod-cidrs=10.0.0.0/8,nowhere", "--feature-gates=ConnectionCounters=false"}); err != nil {
		t.Fatal(err)
	}
	given.FeatureGates = map[string]bool{"ConnectionCounters": false}
	c.Override(given, flags)
	if c.Scope != proxy.ScopeLabelled || !c.MasqueradeAll || c.MasqueradeBit != 12 || len(c.DetectLocal.PodCIDRs) != 2 ||
		!reflect.DeepEqual(c.FeatureGates, map[string]bool{"ChainLayout": true, "ConnectionCounters": false}) {
		t.Errorf("file and flags make %+v", c)
	}
	err = config.Explain(c.Validate(), flags)
	if want := `--pod-cidrs: Invalid value: "nowhere"`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v, want %s", err, want)
	}
}

// leaves are the paths of a type's fields.
func leaves(typ reflect.Type, prefix string) (paths []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case options == "inline":
		case f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == typ.PkgPath():
			paths = append(paths, leaves(f.Type, prefix+name+".")...)
		default:
			paths = append(paths, prefix+name)
		}
	}
	return paths
}

func TestEachFieldIsDocumented(t *testing.T) {
	var documented []string
	for _, f := range config.Fields() {
		documented = append(documented, f.Path)
	}
	if fields := leaves(reflect.TypeFor[config.Configuration](), ""); !reflect.DeepEqual(fields, documented) {
		t.Errorf("the type has the fields\n%q, Fields has\n%q", fields, documented)
	}
	text, err := os.ReadFile(filepath.FromSlash("../../docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), config.Table()) {
		t.Errorf("docs/configuration.md should have this table:\n%s", config.Table())
	}
	// Its example is a whole file.
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	c, err := config.Decode([]byte(example))
	if err != nil || len(c.Validate()) > 0 {
		t.Errorf("the example in docs/configuration.md: %v %v", err, c.Validate())
	}
}
