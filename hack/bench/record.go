package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
)

// record is one thing that was measured, once.
type record struct {
	scenario string
	size     string
	peer     string // who was measured
	what     string // what of it, where a scenario has several
	metric   string // its name and, in brackets, its unit
	round    int
	value    float64
	text     string // in place of a value: the machine, or why there is none
}

// about is the scenario of what is not measured: the machine and the versions.
const about = "about"

// unfinished is the metric of what took too long; the value is how long it was
// waited for, in seconds.
const unfinished = "not finished within (s)"

var columns = []string{"scenario", "size", "peer", "what", "metric", "round", "value", "text"}

func (r record) fields() []string {
	return []string{r.scenario, r.size, r.peer, r.what, r.metric, strconv.Itoa(r.round), strconv.FormatFloat(r.value, 'g', 6, 64), r.text}
}

// recorder writes records as they come: what was measured is not lost when the rest
// fails or is interrupted.
type recorder struct {
	records []record
	csv     *csv.Writer
}

func newRecorder(to io.Writer) (*recorder, error) {
	r := &recorder{csv: csv.NewWriter(to)}
	return r, r.write(columns)
}

func (r *recorder) add(records ...record) error {
	for _, one := range records {
		r.records = append(r.records, one)
		if err := r.write(one.fields()); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) write(fields []string) error {
	if err := r.csv.Write(fields); err != nil {
		return err
	}
	r.csv.Flush()
	return r.csv.Error()
}

// readRecords reads what a recorder wrote.
func readRecords(path string) ([]record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []record
	for i, row := range rows {
		if i == 0 || len(row) != len(columns) {
			continue // the title; other lengths are an error of the reader's
		}
		r := record{scenario: row[0], size: row[1], peer: row[2], what: row[3], metric: row[4], text: row[7]}
		var errs [2]error
		r.round, errs[0] = strconv.Atoi(row[5])
		r.value, errs[1] = strconv.ParseFloat(row[6], 64)
		for _, err := range errs {
			if err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", path, i+1, err)
			}
		}
		all = append(all, r)
	}
	return all, nil
}
