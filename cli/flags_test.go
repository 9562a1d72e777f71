package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// placeholder is how the help may show a flag's value: the name of a type, or capital
// letters for what to write.
var placeholder = regexp.MustCompile(`^(|string|strings|int|uint|duration|[A-Z]+(=[a-z]+)?(,[A-Z]+(=[a-z]+)?)*)$`)

// The help of each flag shows a value as a value: pflag takes the first words in back
// quotes for it, and prints other back quotes as they are.
func TestFlagsShowTheirValues(t *testing.T) {
	flags := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, set := range []*pflag.FlagSet{cmd.LocalFlags(), cmd.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				flags++
				value, usage := pflag.UnquoteUsage(f)
				if !placeholder.MatchString(value) {
					t.Errorf("%s: the help shows --%s %s", cmd.CommandPath(), f.Name, value)
				}
				if usage == "" || strings.Contains(usage, "`") {
					t.Errorf("%s: the help of --%s is %q", cmd.CommandPath(), f.Name, usage)
				}
			})
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
	if flags < 40 {
		t.Errorf("only %d flags are looked at", flags)
	}
}
