// Command image builds kube-verdict's container image from nothing but the Go
// module: no registry, no container runtime. It writes an OCI layout with one image
// for each platform and its SBOM, and for each platform an archive that "docker
// load", "kind load image-archive" and "ctr images import" take.
//
// The same commit gives the same digests: there is no time in the image but the
// commit's.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// cyclonedx writes the bill of materials of a Go program, from what the linker
// leaves in it.
const cyclonedx = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "hack/image: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	tag := flags.String("tag", "kube-verdict:devel", "name and tag of the image")
	dir := flags.String("o", "bin/image", "directory for the OCI layout and the archives; what is there is replaced")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64,linux/s390x", "what to build for")
	sbom := flags.Bool("sbom", true, "describe what each program consists of (CycloneDX)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ref, err := name.NewTag(*tag)
	if err != nil {
		return err
	}
	commit, created, err := commit()
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(*dir), os.MkdirAll(*dir, 0o755)); err != nil {
		return err
	}
	b := builder{dir: *dir, tag: ref, revision: commit, created: created}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range strings.Split(*platforms, ",") {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return err
		}
		adds, err := b.platform(p, *sbom)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, adds...)
	}
	if _, err := layout.Write(filepath.Join(*dir, "oci"), index); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err == nil {
		fmt.Printf("%s: %s\n", *tag, digest)
	}
	return err
}

// commit is what is built, and when it was made. Outside of a checkout it is
// unknown, and made when time began.
func commit() (hash string, made time.Time, err error) {
	out, err := exec.Command("git", "log", "-1", "--format=%H %ct").Output()
	if err != nil {
		return "unknown", time.Unix(0, 0).UTC(), nil
	}
	hash, stamp, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	return hash, time.Unix(seconds, 0).UTC(), err
}

// builder makes the images of one commit.
type builder struct {
	dir      string
	tag      name.Tag
	revision string
	created  time.Time
}

// platform builds and writes the image for one platform, and gives it and its SBOM.
func (b *builder) platform(p *v1.Platform, withSBOM bool) ([]mutate.IndexAddendum, error) {
	program := filepath.Join(b.dir, "kube-verdict-"+p.Architecture)
	if err := b.compile(p, program); err != nil {
		return nil, err
	}
	img, err := b.image(p, program)
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(b.dir, "kube-verdict-"+p.Architecture+".tar")
	if err := tarball.WriteToFile(archive, b.tag, img); err != nil {
		return nil, err
	}
	adds := []mutate.IndexAddendum{{Add: img, Descriptor: v1.Descriptor{Platform: p}}}
	size, err := img.Size()
	if err != nil {
		return nil, err
	}
	if layers, err := img.Layers(); err == nil && len(layers) == 1 {
		if n, err := layers[0].Size(); err == nil {
			size += n
		}
	}
	fmt.Printf("%s: %d MB compressed, %s\n", p, size/1e6, archive)
	if !withSBOM {
		return adds, nil
	}
	bom, err := b.bill(program, img)
	if err != nil {
		return nil, err
	}
	return append(adds, mutate.IndexAddendum{Add: bom}), nil
}

// compile builds the program as "make build" does.
func (b *builder) compile(p *v1.Platform, program string) error {
	return command([]string{"GOOS=" + p.OS, "GOARCH=" + p.Architecture},
		"make", "--no-print-directory", "build", "VERSION="+b.tag.TagStr(), "OUT="+program)
}

// command runs a program, and gives what it said when it fails.
func command(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
