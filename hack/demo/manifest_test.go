package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestManifestWithOtherPods(t *testing.T) {
	objects, err := readObjects("../../" + manifest)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := objects.pods()
	if err != nil {
		t.Fatal(err)
	}
	if len(pods) != len(probabilities) {
		t.Fatalf("the manifest has %d pods, the document %d", len(pods), len(probabilities))
	}
	want := append(slices.Clone(pods[1:]), joining)
	text, err := objects.with(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "changed.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	changed, err := readObjects(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := changed.pods()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the changed manifest has %v, want %v", got, want)
	}
}
