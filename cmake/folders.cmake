# A folder is a component: tlgate_library(NAME LINK ...) builds every .c in it into one static
# library; tlgate_program(NAME FOLDER DIR LINK ...) builds DIR's library and, from its main.c, the
# program. tlgate_embed(NAME FILE) gives the library the bytes of FILE, dir/x.y, to include as dir/x_y.h.
function(tlgate_library name)
  cmake_parse_arguments(ARG "" "FOLDER" "LINK" ${ARGN})
  if(NOT ARG_FOLDER)
    set(ARG_FOLDER ${name})
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ARG_FOLDER}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  if(NOT sources)
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE tlgate_flags ${ARG_LINK})
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PRIVATE tlgate_flags PUBLIC ${ARG_LINK})
endfunction()

function(tlgate_program name)
  cmake_parse_arguments(ARG "" "FOLDER" "LINK" ${ARGN})
  tlgate_library(${ARG_FOLDER} LINK ${ARG_LINK})
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${ARG_FOLDER}/main.c)
    return()
  endif()
  add_executable(${name} ${CMAKE_SOURCE_DIR}/${ARG_FOLDER}/main.c)
  target_link_libraries(${name} PRIVATE tlgate_flags ${ARG_FOLDER})
endfunction()

function(tlgate_embed name file)
  string(REPLACE "." "_" base ${file})
  set(header ${CMAKE_BINARY_DIR}/${base}.h)
  set(script ${CMAKE_SOURCE_DIR}/cmake/embed.cmake)
  add_custom_command(
    OUTPUT ${header}
    COMMAND ${CMAKE_COMMAND} -DFROM=${CMAKE_SOURCE_DIR}/${file} -DTO=${header} -P ${script}
    DEPENDS ${CMAKE_SOURCE_DIR}/${file} ${script})
  target_sources(${name} PRIVATE ${header})
  target_include_directories(${name} PRIVATE ${CMAKE_BINARY_DIR})
endfunction()
