package config

import (
	"errors"
	"fmt"
	"os"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Load reads a file. What it does not say is as in Default.
func Load(path string) (Configuration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Configuration{}, fmt.Errorf("read the configuration: %w", err)
	}
	c, err := Decode(text)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Decode reads YAML or JSON. A field that there is not, or that is there twice, is
// an error.
func Decode(text []byte) (Configuration, error) {
	c := Default()
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return c, fmt.Errorf("not YAML, or a field is there twice: %w", err)
	}
	c.APIVersion, c.Kind = "", ""
	wrong, err := kjson.UnmarshalStrict(data, &c)
	if err != nil {
		return c, err
	}
	if c.APIVersion != APIVersion || c.Kind != Kind {
		wrong = append([]error{fmt.Errorf("apiVersion %q, kind %q: write apiVersion: %s and kind: %s", c.APIVersion, c.Kind, APIVersion, Kind)}, wrong...)
	}
	return c, errors.Join(wrong...)
}

// Encode writes a configuration as a file.
func Encode(c Configuration) ([]byte, error) { return yaml.Marshal(c) }
