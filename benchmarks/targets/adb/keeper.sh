# Runs on the phone as long as it is being measured. It takes the folder, unless another one has it, and cleans up
# whatever happens: when the computer says so, when the cable is pulled (its input ends), and when nothing was heard for a
# minute. What runs is killed, what was set is put back by the commands in `restore`, and every file goes. A folder whose
# keeper is not alive is what a phone without power left. Folders are renamed before they are removed: nobody's removal
# meets the folder of the next.
trap '' HUP INT TERM PIPE
alive() { grep -q FOLDER /proc/$(cat $1/keeper)/cmdline 2> /dev/null; }
put_back() { [ -f $1/restore ] && sh $1/restore > /dev/null 2>&1; }
if [ -d FOLDER ]; then
  [ -f FOLDER/keeper ] || sleep 1
  alive FOLDER && echo busy && exit
  mv FOLDER FOLDER.old.$$ 2> /dev/null || { echo busy; exit; }
  alive FOLDER.old.$$ && mv FOLDER.old.$$ FOLDER && echo busy && exit
  put_back FOLDER.old.$$
fi
rm -rf FOLDER.old.*
said=$(mkdir FOLDER 2>&1) || { [ -d FOLDER ] && echo busy || echo "$said"; exit; }
echo $$ > FOLDER/keeper
echo ready
while read -t SILENCE_S line && [ "$line" = beat ]; do echo beat; done
for one in running reading; do
  [ -f FOLDER/$one ] && kill -9 $(cat FOLDER/$one) 2> /dev/null
done
sleep 0.2
put_back FOLDER
cd / && mv FOLDER FOLDER.old.$$ && rm -rf FOLDER.old.$$
echo done
