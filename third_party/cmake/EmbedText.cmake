# cmake -DOUTPUT=shaders.h -DNAMESPACE=savepoint::shaders -DFILES="a.vert;b.frag" -P EmbedText.cmake
# Writes a header with each file's text: a.vert becomes `inline constexpr std::string_view a_vert`.
set(text "// Made from the files in shaders/ when building.\n#pragma once\n\n#include <string_view>\n\n")
string(APPEND text "namespace ${NAMESPACE} {\n\n")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  string(MAKE_C_IDENTIFIER "${name}" name)
  file(READ ${file} content)
  string(APPEND text "inline constexpr std::string_view ${name} = R\"__glsl__(${content})__glsl__\";\n\n")
endforeach()
string(APPEND text "}  // namespace ${NAMESPACE}\n")
file(WRITE ${OUTPUT} "${text}")
