package scenarios

import (
	_ "embed"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
)

// typesFile is the source of the types of scenario files: what stands there about fields is what editors show.
//
//go:embed scenario.go
var typesFile string

// typeComments returns the comments of types and fields by "Type" and "Type.field", in words of the file: names of Go
// fields are replaced with those of YAML.
func typeComments() map[string]string {
	out := map[string]string{}
	file, err := parser.ParseFile(token.NewFileSet(), "scenario.go", typesFile, parser.ParseComments)
	if err != nil {
		return out // it is the source this is built from
	}
	ast.Inspect(file, func(node ast.Node) bool {
		types, ok := node.(*ast.GenDecl)
		if !ok {
			return true
		}
		for _, spec := range types.Specs {
			if named, ok := spec.(*ast.TypeSpec); ok {
				structComments(named, types.Doc.Text(), out)
			}
		}
		return false
	})
	return out
}

// structComments notes what is said about a struct and its fields.
func structComments(named *ast.TypeSpec, doc string, into map[string]string) {
	fields, ok := named.Type.(*ast.StructType)
	if !ok {
		return
	}
	yaml := yamlNames(fields)
	if text := inYAML(doc, yaml); text != "" {
		into[named.Name.Name] = text
	}
	for _, field := range fields.Fields.List {
		text := inYAML(field.Doc.Text()+" "+field.Comment.Text(), yaml)
		if name := yamlName(field); name != "" && text != "" {
			into[named.Name.Name+"."+name] = text
		}
	}
}

func yamlName(field *ast.Field) string {
	if field.Tag == nil || len(field.Names) == 0 {
		return ""
	}
	tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("yaml")
	name, _, _ := strings.Cut(tag, ",")
	return name
}

// yamlNames maps the Go names of a struct's fields to what files call them.
func yamlNames(fields *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, field := range fields.Fields.List {
		if name := yamlName(field); name != "" {
			out[field.Names[0].Name] = name
		}
	}
	return out
}

var goWord = regexp.MustCompile(`[A-Z][A-Za-z]+`)

// inYAML puts a comment on one line and writes fields as files do.
func inYAML(text string, names map[string]string) string {
	text = strings.Join(strings.Fields(text), " ")
	return goWord.ReplaceAllStringFunc(text, func(word string) string {
		if name, ok := names[word]; ok {
			return name
		}
		return word
	})
}
