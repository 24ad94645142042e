# embed_texts(OUT.cpp FUNCTION FILE...): a C++ file that holds the text of each FILE, as a byte array so that neither
# length limits nor quoting matter, reachable through mappings::FUNCTION().
function(embed_texts out function)
  set(body "#include \"mappings/table/embedded.h\"\n\nnamespace mappings {\nnamespace {\n")
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
  string(APPEND body "}  // namespace\n\nstd::span<const EmbeddedText> ${function}() {\n"
                     "  static const EmbeddedText kTexts[] = {\n${rows}  };\n  return kTexts;\n}\n\n}  // namespace mappings\n")
  file(GENERATE OUTPUT ${out} CONTENT "${body}")
endfunction()
