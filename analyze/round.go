package analyze

import (
	"math"
	"reflect"
	"strconv"
)

// roundReport cuts every figure of a report to ten significant digits. Processors that fuse a multiplication with an
// addition differ in the last bits of a sum; the digits printed should not.
func roundReport(r *Report) { roundValue(reflect.ValueOf(r).Elem()) }

func roundValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Float64:
		if v.CanSet() {
			v.SetFloat(digits(v.Float()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			roundValue(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				roundValue(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			roundValue(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			v.SetMapIndex(key, rounded(v.MapIndex(key)))
		}
	case reflect.Interface:
		if !v.IsNil() && v.CanSet() {
			v.Set(rounded(v))
		}
	default: // nothing with a fraction
	}
}

// rounded returns a rounded copy of what a map or an interface holds, which cannot be changed in place.
func rounded(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Interface {
		if v.IsNil() {
			return v
		}
		v = v.Elem()
	}
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	roundValue(fresh)
	return fresh
}

// digits rounds to ten significant digits. What is not a number becomes 0, which JSON can hold.
func digits(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	y, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 10, 64), 64) // what was formatted can be parsed
	return y
}

// decimals rounds to ten decimals, so that sums of what is rounded stay sums.
func decimals(x float64) float64 { return math.Round(x*1e10) / 1e10 }
