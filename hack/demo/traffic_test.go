package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

var (
	one = pod{ip: netip.MustParseAddr("10.254.0.1")}
	two = pod{ip: netip.MustParseAddr("10.254.0.2")}
)

// answered is a request to the port dns that began and ended at these times.
func answered(by pod, start, end int64) request {
	return request{
		port: ports[0], start: time.UnixMilli(start), end: time.UnixMilli(end),
		answer: testbed.Answer{Server: netip.AddrPortFrom(by.ip, 5353), Client: netip.AddrPortFrom(client.ip, 9)},
	}
}

func TestWrongAnswers(t *testing.T) {
	right := answered(one, 0, 1)
	failed, port, masqueraded := right, right, right
	failed.err = errors.New("no answer in time")
	port.answer.Server = netip.AddrPortFrom(one.ip, 9153)
	masqueraded.answer.Client = netip.AddrPortFrom(two.ip, 9)
	for _, tc := range []struct {
		request request
		want    string
	}{
		{failed, "no answer in time"},
		{port, "10.254.0.1:9153 answered, which was no endpoint"},
		{answered(two, 0, 1), "10.254.0.2:5353 answered, which was no endpoint"},
		{masqueraded, "saw a request from 10.254.0.2:9"},
	} {
		err := firstWrong([]request{right, tc.request}, func(r request) bool { return r.answeredBy([]pod{one}) })
		if err == nil || !strings.Contains(err.Error(), "1 of 2") || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want 1 of 2 and %q", err, tc.want)
		}
	}
	if err := firstWrong([]request{right}, func(request) bool { return true }); err != nil {
		t.Errorf("nothing is wrong, but: %v", err)
	}
}

// replaced is one endpoint that another replaces between 100 and 110 ms.
func replaced() []state {
	at := time.UnixMilli
	return []state{
		{pods: []pod{one}, start: at(0), end: at(0)},
		{removed: one.ip, added: two.ip, pods: []pod{two}, start: at(100), end: at(110)},
		{start: at(200), end: at(200)},
	}
}

func TestWhoMayAnswerDuringAChange(t *testing.T) {
	for _, tc := range []struct {
		name       string
		by         pod
		start, end int64
		want       bool
	}{
		{"old, before", one, 10, 20, true},
		{"new, before", two, 10, 20, false},
		{"new, sent before and maybe arrived after", two, 95, 105, true},
		{"old, sent during", one, 105, 115, true},
		{"old, after", one, 111, 115, false},
		{"new, after", two, 111, 115, true},
	} {
		if got := mayAnswer(replaced(), answered(tc.by, tc.start, tc.end)); got != tc.want {
			t.Errorf("%s: may answer is %t", tc.name, got)
		}
	}
}

func TestOutcomeOfAChange(t *testing.T) {
	failed := answered(two, 130, 131)
	failed.err = testbed.ErrTimeout
	requests := []request{
		answered(one, 50, 51),   // before
		answered(one, 105, 106), // during
		answered(two, 120, 121),
		answered(one, 125, 126),
		failed,
		answered(two, 200, 201), // in the next state
	}
	states := replaced()
	want := outcome{requests: 4, failed: 1, settled: 2, byRemoved: 1, byAdded: 1}
	if got := states[1].outcome(requests, states[2].start); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
