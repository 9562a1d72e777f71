package proxy_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/kube-verdict/kube-verdict/proxy"
)

// A change of any field, of those that are yet to come, too, is a difference: what
// is called equal is not programmed.
func TestEveryFieldCounts(t *testing.T) {
	everyField(t, proxy.Service.Equal)
	everyField(t, proxy.Port.Equal)
	everyField(t, proxy.Node.Equal)
}

func everyField[T any](t *testing.T, equal func(T, T) bool) {
	var one T
	if !equal(one, one) {
		t.Errorf("a %T does not equal itself", one)
	}
	for i := range reflect.TypeFor[T]().NumField() {
		var another T
		field := reflect.ValueOf(&another).Elem().Field(i)
		change(field)
		if field.IsZero() || equal(one, another) || equal(another, one) {
			t.Errorf("%T: another %s makes no difference", one, reflect.TypeFor[T]().Field(i).Name)
		}
	}
}

func change(v reflect.Value) {
	if _, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(1)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		change(v.Field(0))
	}
}
