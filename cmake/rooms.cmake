# smig_room(name DIR folder [SEES rooms…] [LIBRARIES targets…])
#
# A room is a static library whose sources may include its own headers, the public header, and the headers of the rooms
# it SEES: nothing is inherited, so a wrong include does not compile.
function(smig_room name)
  cmake_parse_arguments(room "" "DIR" "SEES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${room_DIR}/*.c)
  add_library(smig_${name} STATIC ${sources})
  set_target_properties(smig_${name} PROPERTIES SMIG_DIR ${PROJECT_SOURCE_DIR}/${room_DIR} LINKER_LANGUAGE C)
  smig_sees(smig_${name} ${name} ${room_SEES})
  target_link_libraries(smig_${name} PRIVATE ${room_LIBRARIES})
endfunction()

# smig_sees(target rooms…): lets a target include the headers of rooms, and link them.
function(smig_sees target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/engine/include)
  foreach(room ${ARGN})
    get_target_property(dir smig_${room} SMIG_DIR)
    target_include_directories(${target} PRIVATE ${dir})
    if(NOT target STREQUAL smig_${room})
      target_link_libraries(${target} PRIVATE $<LINK_ONLY:smig_${room}>)
    endif()
  endforeach()
endfunction()
