package manifests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the files have to be still before they are read: what
// writes one of several files is not done yet.
const settle = 50 * time.Millisecond

// patience is how long they are waited for, since other files in the same
// directory may never be still.
const patience = time.Second

// Watch calls changed once, and again whenever the files change, until the
// context ends. A burst of changes is one. Files that are replaced by others of
// their name (editors, ConfigMap volumes) are followed, as are new files in
// directories.
func Watch(ctx context.Context, paths []string, changed func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	for _, path := range paths {
		if path == "-" {
			return errors.New("standard input can't be watched: name files or directories")
		}
		// A file is watched through its directory, which knows when another
		// takes its place.
		dir := path
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			dir = filepath.Dir(path)
		}
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	changed() // only now, so that no change is missed between the two
	var still <-chan time.Time
	var since time.Time
	touched := func() {
		switch {
		case still == nil:
			since = time.Now()
		case time.Since(since) > patience-settle:
			return // it is due
		}
		still = time.After(settle)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch files: %w", err)
			}
			touched() // some event was lost: look at all
		case e := <-watcher.Events:
			if e.Op != fsnotify.Chmod {
				touched()
			}
		case <-still:
			still = nil
			changed()
		}
	}
}
