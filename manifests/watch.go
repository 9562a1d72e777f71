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

// patience is how long they are waited for at most.
const patience = time.Second

// Watch calls changed once, and again whenever the files change, until the
// context ends. A burst of changes is one. Files and directories that are replaced
// by others of their name (editors, ConfigMap volumes) are followed, as are new
// files in directories; where any other symbolic link leads is not watched.
// In between, it calls then for what comes from also; both may be nil.
func Watch(ctx context.Context, paths []string, changed func(), also <-chan struct{}, then func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer func() { _ = watcher.Close() }()
	var watched []string
	for _, path := range paths {
		if path == "-" {
			return errors.New("standard input can't be watched: name files or directories")
		}
		watched = append(watched, filepath.Clean(path))
	}
	if err := follow(watcher, watched); err != nil {
		return err
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
		case <-also:
			then()
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch files: %w", err)
			}
			touched() // some event was lost: look at all
		case e := <-watcher.Events:
			if e.Op != fsnotify.Chmod && concerns(watched, filepath.Clean(e.Name)) {
				touched()
			}
		case <-still:
			still = nil
			// A directory may be another one by now. If it can't be watched, it
			// can't be read either, and that is told.
			_ = follow(watcher, watched)
			changed()
		}
	}
}

// follow watches directories, and files through theirs, which knows when another
// takes their place; so does the one above a directory.
func follow(watcher *fsnotify.Watcher, paths []string) error {
	for _, path := range paths {
		above := filepath.Dir(path)
		dir := path
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			dir = above
		}
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
		_ = watcher.Add(above) // which may be forbidden
	}
	return nil
}

// swapped is the link through which a ConfigMap volume's files are reached. All of
// them change when it does.
const swapped = "..data"

// concerns says that what has changed may be what a path stands for. Others write
// to the same directories, as to a log.
func concerns(paths []string, name string) bool {
	for _, path := range paths {
		dir := filepath.Dir(name)
		switch {
		case name == path:
			return true
		case dir == path && isManifest(name):
			return true
		case (dir == path || dir == filepath.Dir(path)) && filepath.Base(name) == swapped:
			return true
		}
	}
	return false
}
