# embed_texts(OUT.cpp HEADER NAMESPACE FUNCTION FILE...): a C++ file that holds the text of each FILE, as a byte array so that
# neither length limits nor quoting matter, reachable through NAMESPACE::FUNCTION(), which HEADER declares.
function(embed_texts out header namespace function)
  set(body "#include \"${header}\"\n\nnamespace ${namespace} {\nnamespace {\n")
  set(rows "")
  foreach(file ${ARGN})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    get_filename_component(stem ${file} NAME_WE)
    get_filename_component(name ${file} NAME)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND body "constexpr unsigned char k_${stem}[] = {${bytes}0};\n")
    string(APPEND rows "      {\"${name}\", {reinterpret_cast<const char*>(k_${stem}), sizeof(k_${stem}) - 1}},\n")
  endforeach()
  string(APPEND body "}  // namespace\n\nstd::span<const mappings::EmbeddedText> ${function}() {\n"
                     "  static const mappings::EmbeddedText kTexts[] = {\n${rows}  };\n  return kTexts;\n}\n\n}  // namespace ${namespace}\n")
  file(GENERATE OUTPUT ${out} CONTENT "${body}")
endfunction()
