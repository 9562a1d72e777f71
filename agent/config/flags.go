package config

import (
	"errors"
	"maps"
	"reflect"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Override takes over those fields of flags whose flag was given; gates, one by one.
func (c *Configuration) Override(flags Configuration, given *pflag.FlagSet) {
	for _, f := range Fields() {
		if f.Flag == "" || !given.Changed(f.Flag) {
			continue
		}
		if f.Flag == "feature-gates" {
			gates := maps.Clone(c.FeatureGates)
			if gates == nil {
				gates = map[string]bool{}
			}
			maps.Copy(gates, flags.FeatureGates)
			c.FeatureGates = gates
			continue
		}
		value(c, f.Path).Set(value(&flags, f.Path))
	}
}

// value is the field of that path.
func value(c *Configuration, path string) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for name := range strings.SplitSeq(path, ".") {
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") == name {
				v = v.Field(i)
				break
			}
		}
	}
	return v
}

// Explain makes one error of all, which names the flag where one was given, else
// the field.
func Explain(wrong field.ErrorList, given *pflag.FlagSet) error {
	var all []error
	for _, e := range wrong {
		text := e.Error()
		for _, f := range Fields() {
			if f.Flag != "" && given.Changed(f.Flag) && (e.Field == f.Path || strings.HasPrefix(e.Field, f.Path+"[")) {
				text = "--" + f.Flag + ": " + e.ErrorBody()
			}
		}
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}
